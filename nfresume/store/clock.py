"""Protects work dirs from a clock that is ahead.

Each machine that sweeps notes the time, and how long it had been up by then. Until its next look the clock
must not have gone further than the uptime has, by more than TOLERANCE. On a machine that was started since
then the uptime says nothing: there, MAX_GAP without a note of any machine is too long. When the clock is
ahead, nothing expires for HOLD, so that an administrator can correct it. The hold ends when the clock goes
back. Expiries that were set while the clock was ahead are later than meant, never earlier.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from nfresume.store.database import Store, Tx
from nfresume.store.schema import clocks
from nfresume.system import processes

TOLERANCE = timedelta(minutes=10)
MAX_GAP = timedelta(days=3)
NOTE_EVERY = timedelta(hours=1)
HOLD = timedelta(days=1)
#: Notes of machines that were not seen for so long are removed.
_FORGOTTEN = timedelta(days=30)


@dataclass(frozen=True)
class Uptime:
    """How long a boot of a machine has lasted, suspensions included. No setting of the clock changes it."""

    boot: str
    seconds: float


@dataclass(frozen=True)
class _Note:
    seen_at: datetime
    uptime: float
    held_until: datetime | None


def uptime() -> Uptime:
    """The uptime of this machine."""
    return Uptime(processes.boot_id(), time.clock_gettime(time.CLOCK_BOOTTIME))


def is_noted(tx: Tx, up: Uptime) -> bool:
    """True when this machine noted the time less than NOTE_EVERY ago and expiry is not on hold."""
    notes = _notes(tx)
    mine = notes.get(up.boot)
    return (mine is not None and timedelta() <= tx.now - mine.seen_at < NOTE_EVERY
            and not any(note.held_until for note in notes.values()))


def check(tx: Tx, up: Uptime, *, note: bool = True) -> datetime | None:
    """Note the time. Returns until when nothing may be expired; None when the clock is plausible.

    Without `note` nothing is written.
    """
    notes = _notes(tx)
    newest = max((note.seen_at for note in notes.values()), default=tx.now)
    was = max((note.held_until for note in notes.values() if note.held_until), default=None)
    ahead = _ahead(notes.get(up.boot), newest, tx.now, up)
    if ahead is None:
        held = was if was is not None and newest - TOLERANCE <= tx.now < was else None
    elif was is not None and tx.now - ahead < was:
        held = was + ahead  # only the rest of the hold: a machine that is paused each night seems to jump
    else:
        held = tx.now + HOLD
    if not note:
        return held
    old = clocks.delete()
    if ahead is None and held == was:  # else what other machines noted was before the jump
        old = old.where((clocks.c.boot == up.boot) | (clocks.c.seen_at < tx.now - _FORGOTTEN))
    tx.conn.execute(old)
    tx.conn.execute(clocks.insert().values(boot=up.boot, seen_at=tx.now, uptime=up.seconds, held_until=held))
    return held


def believed(store: Store) -> datetime | None:
    """The database's time. None when it may be ahead: then nothing may go because of its age."""
    with store.begin() as tx:
        return tx.now if check(tx, uptime()) is None else None


def _ahead(mine: _Note | None, newest: datetime, now: datetime, up: Uptime) -> timedelta | None:
    """By how much the clock is ahead; None when it is plausible."""
    if mine is None:
        return now - newest if now - newest > MAX_GAP else None
    ahead = now - mine.seen_at - timedelta(seconds=up.seconds - mine.uptime)
    return ahead if ahead > TOLERANCE else None


def _notes(tx: Tx) -> dict[str, _Note]:
    """The newest note of each machine by its boot."""
    rows = tx.conn.execute(clocks.select().order_by(clocks.c.id))
    return {row.boot: _Note(row.seen_at, row.uptime, row.held_until) for row in rows}
