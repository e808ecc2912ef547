"""Transitions of a work dir's deletion: start and reason, claim, progress, tombstone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from nfresume.domain import workdirs as wd
from nfresume.domain.workdirs import RemovalProgress, WorkDirState
from nfresume.store import ledger
from nfresume.store.database import Tx
from nfresume.store.schema import executions, work_dirs
from nfresume.store.transitions import move_work_dir, record


def _deletable(execution_id: str, attempt: int) -> Any:
    """SQL condition: the work dir is not pinned, and `attempt` is still the last one.

    Only the results of attempts up to `attempt` were materialised; a later one may have published more.
    """
    same = sa.exists().where(executions.c.id == execution_id, executions.c.attempt == attempt)
    return ~work_dirs.c.pinned & same


def expire(tx: Tx, execution_id: str, attempt: int, actor: str) -> None:
    """RETAINED -> DELETING, only if the work dir is due and not pinned now. Raises Conflict otherwise."""
    due = (work_dirs.c.expires_at <= tx.now) & _deletable(execution_id, attempt)
    move_work_dir(tx, execution_id, wd.EXPIRE, also=due, reason="expired")
    record(tx, execution_id, "expire", actor)


def delete(tx: Tx, execution_id: str, attempt: int, reason: str, actor: str) -> None:
    """RETAINED -> DELETING on request. Raises Conflict if the work dir is pinned or was relaunched."""
    move_work_dir(tx, execution_id, wd.DELETE, also=_deletable(execution_id, attempt), reason=reason)
    record(tx, execution_id, "delete", actor, None, {"reason": reason})


def delete_success(tx: Tx, execution_id: str, attempt: int, actor: str) -> None:
    """RETAINED -> DELETING of a success whose hold or pin has ended. Raises Conflict if it was extended."""
    reason = "the run succeeded"
    held = work_dirs.c.expires_at.is_(None) & _deletable(execution_id, attempt)
    move_work_dir(tx, execution_id, wd.DELETE, also=held, reason=reason)
    record(tx, execution_id, "delete", actor, None, {"reason": reason})


def evict(tx: Tx, execution_id: str, attempt: int, reason: str, actor: str) -> None:
    """RETAINED -> DELETING because a budget is used up. Raises Conflict if it is pinned or held."""
    expires = _deletable(execution_id, attempt) & work_dirs.c.expires_at.is_not(None)
    move_work_dir(tx, execution_id, wd.DELETE, also=expires, reason=reason)
    record(tx, execution_id, "evict", actor, None, {"reason": reason})


def claim(
    tx: Tx, execution_id: str, remover: str, seconds: float, so_far: RemovalProgress | None = None
) -> bool:
    """Claim the removal of a DELETING work dir for `seconds`; False when another process has the claim.

    The holder renews its claim by claiming again, and publishes its progress `so_far` with it.
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
    """Stay DELETING and give up the claim, so that the next sweep continues at once."""
    tx.conn.execute(
        work_dirs.update().where(work_dirs.c.execution_id == execution_id)
        .values(remover_until=None, **_progress(so_far))
    )
    _sample_rest(tx, execution_id, so_far)
    record(tx, execution_id, "removal_paused", actor, None, asdict(so_far))


def _sample_rest(tx: Tx, execution_id: str, so_far: RemovalProgress) -> None:
    """Sample the bytes that are left, estimated by the share of files that are left: they still cost."""
    row = tx.conn.execute(sa.select(work_dirs.c.metered_bytes, work_dirs.c.files)
                          .where(work_dirs.c.execution_id == execution_id)).one()
    if row.metered_bytes and row.files:
        left = so_far.remaining_files(row.files) or 0
        ledger.sample_rest(tx, execution_id, row.metered_bytes * left // row.files)


def blocked(
    tx: Tx, execution_id: str, reason: str, actor: str, so_far: RemovalProgress | None = None
) -> None:
    """Stay DELETING, record why it cannot be removed, and give up the claim; the next sweep tries again."""
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
    """DELETING -> DELETED; the row stays as a tombstone: when, by whom and how much was deleted."""
    move_work_dir(tx, execution_id, wd.REMOVED, deleted_at=tx.now, remover_until=None, expires_at=None,
                   **_progress(freed))
    ledger.sample(tx, execution_id, 0)
    record(tx, execution_id, "removed", actor, None, asdict(freed))


def measured(
    tx: Tx, execution_id: str, processes: Mapping[str, int] | None = None, **sizes: int
) -> None:
    """Record a work dir's size: bytes, disk_bytes, metered_bytes, files, directories and partial.

    `processes` maps process names to metered bytes, for the sample. Does nothing for a DELETED work dir.
    """
    result = tx.conn.execute(
        work_dirs.update()
        .where(work_dirs.c.execution_id == execution_id, work_dirs.c.state != WorkDirState.DELETED)
        .values(measured_at=tx.now, **sizes)
    )
    if result.rowcount:
        ledger.sample(tx, execution_id, sizes["metered_bytes"], processes)
