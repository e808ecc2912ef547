"""Protects work dirs from a clock that jumps ahead.

A sweep notes the time every NOTE_EVERY, and whenever something is due. When more than MAX_GAP has passed
since the last note and since the newest event, either no sweep ran for so long, or the clock is wrong. Then
nothing expires for HOLD, so that an administrator can correct the clock. The hold ends if the clock goes
back. Expiries that were set while the clock was ahead are later than meant, never earlier.
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
    """True when the time was noted less than NOTE_EVERY ago and expiry is not on hold."""
    row = tx.conn.execute(clock.select()).first()
    return row is not None and row.held_until is None and timedelta() <= tx.now - row.seen_at < NOTE_EVERY


def check(tx: Tx) -> datetime | None:
    """Note the time. Returns until when nothing may be expired; None when the clock is plausible."""
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
    seen_at = row.seen_at if held else tx.now  # during a hold the present time is not trusted
    tx.conn.execute(clock.update().values(seen_at=seen_at, held_until=held))
    return held
