"""How the bytes of a work dir go: who is at it, how far it is, and the tombstone in the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from nfresume import workdirs as wd
from nfresume.store import ledger
from nfresume.store.database import Tx
from nfresume.store.schema import work_dirs
from nfresume.store.transitions import move_work_dir, record
from nfresume.workdirs import RemovalProgress, WorkDirState


def claim(
    tx: Tx, execution_id: str, remover: str, seconds: float, so_far: RemovalProgress | None = None
) -> bool:
    """True for the one process that may remove a DELETING work dir for the next `seconds`.

    Claiming again prolongs the claim, and tells others how far the removal is.
    """
    result = tx.conn.execute(
        work_dirs.update()
        .where(
            work_dirs.c.execution_id == execution_id,
            work_dirs.c.state == WorkDirState.DELETING,
            (work_dirs.c.remover_until.is_(None))
            | (work_dirs.c.remover_until < tx.now)
            | (work_dirs.c.remover == remover),
        )
        .values(remover=remover, remover_until=tx.now + timedelta(seconds=seconds), **_progress(so_far))
    )
    return result.rowcount == 1


def _progress(so_far: RemovalProgress | None) -> dict[str, Any]:
    return {} if so_far is None else {"removal": asdict(so_far)}


def paused(tx: Tx, execution_id: str, so_far: RemovalProgress, actor: str) -> None:
    """Stay DELETING; the next sweep goes on at once."""
    tx.conn.execute(
        work_dirs.update().where(work_dirs.c.execution_id == execution_id)
        .values(remover_until=None, **_progress(so_far))
    )
    _sample_rest(tx, execution_id, so_far)
    record(tx, execution_id, "removal_paused", actor, None, asdict(so_far))


def _sample_rest(tx: Tx, execution_id: str, so_far: RemovalProgress) -> None:
    """What is left costs on: its share of the metered bytes is taken to be that of its files."""
    row = tx.conn.execute(sa.select(work_dirs.c.metered_bytes, work_dirs.c.files)
                          .where(work_dirs.c.execution_id == execution_id)).one()
    if row.metered_bytes and row.files:
        left = so_far.remaining_files(row.files) or 0
        ledger.sample_rest(tx, execution_id, row.metered_bytes * left // row.files)


def blocked(
    tx: Tx, execution_id: str, reason: str, actor: str, so_far: RemovalProgress | None = None
) -> None:
    """Stay DELETING, with the reason shown; the next sweep tries again."""
    result = tx.conn.execute(
        work_dirs.update()
        .where(
            work_dirs.c.execution_id == execution_id,
            work_dirs.c.state == WorkDirState.DELETING,
            sa.func.coalesce(work_dirs.c.reason, "") != reason,
        )
        .values(reason=reason)
    )
    if result.rowcount:
        record(tx, execution_id, "removal_blocked", actor, None, {"reason": reason})
    tx.conn.execute(
        work_dirs.update().where(work_dirs.c.execution_id == execution_id)
        .values(remover_until=None, **_progress(so_far))
    )
    if so_far is not None:
        _sample_rest(tx, execution_id, so_far)


def removed(tx: Tx, execution_id: str, actor: str, freed: RemovalProgress) -> None:
    """DELETING -> DELETED; the tombstone keeps when, by whom and how much."""
    move_work_dir(tx, execution_id, wd.REMOVED, deleted_at=tx.now, remover_until=None, expires_at=None,
                   **_progress(freed))
    ledger.sample(tx, execution_id, 0)
    record(tx, execution_id, "removed", actor, None, asdict(freed))


def measured(
    tx: Tx, execution_id: str, processes: Mapping[str, int] | None = None, **sizes: int
) -> None:
    """Record a work dir's size: bytes, disk_bytes, metered_bytes, files, directories and partial.

    `processes` are the metered bytes of each, for the ledger.
    """
    result = tx.conn.execute(
        work_dirs.update()
        .where(work_dirs.c.execution_id == execution_id, work_dirs.c.state != WorkDirState.DELETED)
        .values(measured_at=tx.now, **sizes)
    )
    if result.rowcount:
        ledger.sample(tx, execution_id, sizes["metered_bytes"], processes)
