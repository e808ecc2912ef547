"""A clock that jumps ahead must not expire what people still need.

A sweep notes the time, once in NOTE_EVERY and whenever something is due. When more than MAX_GAP has passed since the
last one, and since the newest event, either nobody was here for so long, or the clock is wrong: what is due
waits for HOLD, so that somebody can set it right. A clock that goes back ends the wait; what was written
meanwhile expires later, never earlier.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa

from nfresume.store.database import Tx
from nfresume.store.schema import clock, events

MAX_GAP = timedelta(days=30)
NOTE_EVERY = timedelta(hours=1)
HOLD = timedelta(hours=1)


def is_noted(tx: Tx) -> bool:
    """True when the time was noted lately, and is believed."""
    row = tx.conn.execute(clock.select()).first()
    return row is not None and row.held_until is None and timedelta() <= tx.now - row.seen_at < NOTE_EVERY


def check(tx: Tx) -> datetime | None:
    """Note the time. Returns until when nothing may be expired; None when all is well."""
    row = tx.conn.execute(clock.select()).first()
    if row is None:
        tx.conn.execute(clock.insert().values(id=1, seen_at=tx.now, held_until=None))
        return None
    held: datetime | None = row.held_until
    if held is None:
        newest = tx.conn.execute(sa.select(sa.func.max(events.c.at)).where(events.c.at <= tx.now)).scalar()
        seen = max(row.seen_at, newest) if newest else row.seen_at
        held = tx.now + HOLD if tx.now - seen > MAX_GAP else None
    elif tx.now >= held or tx.now < held - HOLD:
        held = None
    seen_at = row.seen_at if held else tx.now  # while it is held, the time is not believed
    tx.conn.execute(clock.update().values(seen_at=seen_at, held_until=held))
    return held
