"""How executions began and ended, over all of their attempts: what a list of runs shows beside the states."""

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
_CURRENT = (attempts.c.execution_id == executions.c.id) & (attempts.c.number == executions.c.attempt)


@dataclass(frozen=True)
class Outcome:
    """When the first attempt started, when the last one ended (None: not yet), and how.

    `last_started_at`: when the last one started. Between attempts nothing ran.
    """

    started_at: datetime | None
    ended_at: datetime | None
    exit_code: int | None
    error: str | None
    last_started_at: datetime | None = None


def of(tx: Tx, execution_ids: Iterable[str]) -> dict[str, Outcome]:
    """The outcomes of executions, by id."""
    ids = list(execution_ids)
    first = dict(tx.conn.execute(
        sa.select(attempts.c.execution_id, sa.func.min(attempts.c.started_at))
        .where(attempts.c.execution_id.in_(ids)).group_by(attempts.c.execution_id)).all())
    last = tx.conn.execute(
        sa.select(executions.c.id, attempts.c.started_at, attempts.c.ended_at, attempts.c.exit_code,
                  attempts.c.error)
        .join(attempts, _CURRENT).where(executions.c.id.in_(ids)))
    return {r.id: Outcome(first.get(r.id), r.ended_at, r.exit_code, r.error, r.started_at) for r in last}


def of_failed(tx: Tx, account: str) -> list[Outcome]:
    """The outcome of each failed execution of an account, without the time of its start."""
    query = (sa.select(attempts.c.ended_at, attempts.c.exit_code, attempts.c.error)
             .join(executions, _CURRENT)
             .where(executions.c.account == account, executions.c.state == ExecutionState.FAILED))
    return [Outcome(None, r.ended_at, r.exit_code, r.error) for r in tx.conn.execute(query)]


def slimmed(tx: Tx, execution_ids: Sequence[str]) -> list[dict[str, Any]]:
    """What slim retention has removed of executions: the detail of each such event."""
    found: list[dict[str, Any]] = []
    for start in range(0, len(execution_ids), _AT_ONCE):
        found += tx.conn.execute(sa.select(events.c.detail).where(
            events.c.execution_id.in_(execution_ids[start:start + _AT_ONCE]),
            events.c.name == "slimmed")).scalars()
    return found
