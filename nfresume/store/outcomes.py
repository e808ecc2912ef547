"""How executions began and ended: what a list of runs shows beside the states."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from nfresume.domain.executions import ExecutionState
from nfresume.store.database import Tx
from nfresume.store.schema import attempts, events, executions

#: A database takes a limited number of values in one query.
_AT_ONCE = 5000
_OUTCOME = (attempts.c.started_at, attempts.c.ended_at, attempts.c.exit_code, attempts.c.error)
_CURRENT = (attempts.c.execution_id == executions.c.id) & (attempts.c.number == executions.c.attempt)


@dataclass(frozen=True)
class Outcome:
    """When the last attempt started and ended (None: not yet), and how."""

    started_at: datetime | None
    ended_at: datetime | None
    exit_code: int | None
    error: str | None


def of(tx: Tx, execution_ids: Iterable[str]) -> dict[str, Outcome]:
    """The outcomes of executions, by id."""
    rows = tx.conn.execute(
        sa.select(executions.c.id, *_OUTCOME).join(attempts, _CURRENT)
        .where(executions.c.id.in_(list(execution_ids))))
    return {name: Outcome(*outcome) for name, *outcome in rows}


def of_failed(tx: Tx, account: str) -> list[Outcome]:
    """The outcome of each failed execution of an account."""
    query = (sa.select(*_OUTCOME).join(executions, _CURRENT)
             .where(executions.c.account == account, executions.c.state == ExecutionState.FAILED))
    return [Outcome(*row) for row in tx.conn.execute(query)]


def first_starts(tx: Tx, execution_ids: Iterable[str]) -> dict[str, datetime | None]:
    """When the first attempt of each execution started, by id."""
    return dict(tx.conn.execute(
        sa.select(attempts.c.execution_id, sa.func.min(attempts.c.started_at))
        .where(attempts.c.execution_id.in_(list(execution_ids))).group_by(attempts.c.execution_id)).all())


def slimmed(tx: Tx, execution_ids: Sequence[str]) -> list[dict[str, Any]]:
    """What slim retention has removed of executions: the detail of each such event."""
    found: list[dict[str, Any]] = []
    for start in range(0, len(execution_ids), _AT_ONCE):
        found += tx.conn.execute(sa.select(events.c.detail).where(
            events.c.execution_id.in_(execution_ids[start:start + _AT_ONCE]),
            events.c.name == "slimmed")).scalars()
    return found
