"""Counts over all accounts, for monitoring."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa

from nfresume.domain.executions import ExecutionState
from nfresume.domain.workdirs import KeepKind, WorkDirState
from nfresume.store.database import Tx
from nfresume.store.schema import deliveries, executions, work_dirs

#: A delivery that failed longer ago is not counted.
_LATELY = timedelta(hours=24)


@dataclass(frozen=True)
class Figures:
    """What the database says of all executions. Sizes are bytes."""

    executions: dict[str, int]  # by state
    retained: dict[str, tuple[int, int]]  # by root id: stored bytes, metered bytes
    due: int  # retained, and expired
    overdue: int  # the same, for longer than a sweep may take to come
    deleting: int
    held: int
    blocked: int
    failed_notices: int  # of the last day


def gather(tx: Tx, overdue_seconds: float) -> Figures:
    """All figures. A work dir is overdue when it expired more than `overdue_seconds` ago."""
    states: dict[str, int] = dict(tx.conn.execute(
        sa.select(executions.c.state, sa.func.count()).group_by(executions.c.state)).all())
    retained = work_dirs.c.state == WorkDirState.RETAINED
    sums = tx.conn.execute(
        sa.select(executions.c.root_id, sa.func.coalesce(sa.func.sum(work_dirs.c.bytes), 0),
                  sa.func.coalesce(sa.func.sum(work_dirs.c.metered_bytes), 0))
        .join(executions, executions.c.id == work_dirs.c.execution_id).where(retained)
        .group_by(executions.c.root_id))

    def count(*conditions: sa.ColumnElement[bool]) -> int:
        query = sa.select(sa.func.count()).select_from(work_dirs).where(*conditions)
        return tx.conn.execute(query).scalar_one()

    late = deliveries.c.next_try_at.is_(None) | (deliveries.c.next_try_at > tx.now - _LATELY)
    failed = sa.select(sa.func.count()).select_from(deliveries).where(
        deliveries.c.error.is_not(None), deliveries.c.delivered_at.is_(None), late)
    return Figures(
        executions={str(state): states.get(state, 0) for state in ExecutionState},
        retained={root: (int(stored), int(metered)) for root, stored, metered in sums},
        due=count(retained, work_dirs.c.expires_at <= tx.now),
        overdue=count(retained, work_dirs.c.expires_at <= tx.now - timedelta(seconds=overdue_seconds)),
        deleting=count(work_dirs.c.state == WorkDirState.DELETING),
        held=count(retained, work_dirs.c.keep_kind == KeepKind.HELD),
        blocked=count(work_dirs.c.state == WorkDirState.DELETING,
                      work_dirs.c.look_again_at.is_not(None)),
        failed_notices=tx.conn.execute(failed).scalar_one(),
    )
