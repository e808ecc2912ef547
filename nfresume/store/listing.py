"""The list of executions: filtered, sorted, counted, in pages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from nfresume.domain.executions import Execution, ExecutionState
from nfresume.domain.workdirs import WorkDirState
from nfresume.store import queries
from nfresume.store.database import Tx
from nfresume.store.schema import events, executions, work_dirs

# What is deleted keeps its size in the row, and takes no space.
_STORED = sa.case((work_dirs.c.state == WorkDirState.DELETED, 0),
                  else_=sa.func.coalesce(work_dirs.c.metered_bytes, 0))
_NEVER = work_dirs.c.expires_at.is_(None)
#: Sort orders, by name. `-down` is the other direction of a column.
SORTS: dict[str, tuple[Any, ...]] = {
    "newest": (executions.c.created_at.desc(), executions.c.id),
    "oldest": (executions.c.created_at, executions.c.id),
    "size": (_STORED.desc(), executions.c.id),
    "size-down": (_STORED, executions.c.id),
    "expiry": (_NEVER, work_dirs.c.expires_at, executions.c.id),
    "expiry-down": (_NEVER, work_dirs.c.expires_at.desc(), executions.c.id),
    "pipeline": (executions.c.pipeline, executions.c.created_at.desc()),
    "pipeline-down": (executions.c.pipeline.desc(), executions.c.created_at.desc()),
    "state": (executions.c.state, executions.c.created_at.desc()),
    "state-down": (executions.c.state.desc(), executions.c.created_at.desc()),
    "id": (executions.c.id,),
    "id-down": (executions.c.id.desc(),),
}
#: A count stops here: nobody reads the number of the last page of more.
MOST_COUNTED = 10_000


@dataclass(frozen=True)
class Filter:
    """Which executions are listed; empty: all. `text` is in their id or pipeline.

    `user` begins the name of who launched them. `tag` is `key=value`, or a text in their tags. `since` and
    `until` limit their launch.
    """

    states: tuple[ExecutionState, ...] = ()
    work_dirs: tuple[WorkDirState, ...] = ()
    text: str = ""
    pipeline: str = ""
    user: str = ""
    tag: str = ""
    since: datetime | None = None
    until: datetime | None = None

    @property
    def everything(self) -> bool:
        """True when nothing is filtered."""
        return self == Filter()


def page(tx: Tx, account: str, wanted: Filter, sort: str, limit: int, offset: int) -> list[Execution]:
    """An account's executions, sorted by a key of SORTS (else the newest first)."""
    query = sa.select(executions, work_dirs).join(work_dirs, work_dirs.c.execution_id == executions.c.id)
    query = query.where(*_conditions(account, wanted))
    query = query.order_by(*SORTS.get(sort, SORTS["newest"])).limit(limit).offset(offset)
    return queries.of_rows(tx.conn.execute(query))


def count(tx: Tx, account: str, wanted: Filter) -> int:
    """How many executions match; at most MOST_COUNTED."""
    query = sa.select(sa.literal(1)).select_from(executions)
    if wanted.work_dirs:
        query = query.join(work_dirs, work_dirs.c.execution_id == executions.c.id)
    inner = query.where(*_conditions(account, wanted)).limit(MOST_COUNTED).subquery()
    return int(tx.conn.execute(sa.select(sa.func.count()).select_from(inner)).scalar_one())


def launchers(tx: Tx, ids: Iterable[str]) -> dict[str, str]:
    """Who launched executions, by id."""
    query = sa.select(events.c.execution_id, events.c.actor).where(
        events.c.execution_id.in_(list(ids)), events.c.name == "launch")
    return dict(tx.conn.execute(query).tuples().all())


def _conditions(account: str, wanted: Filter) -> list[Any]:
    found: list[Any] = [executions.c.account == account]
    if wanted.states:
        found.append(executions.c.state.in_(wanted.states))
    if wanted.work_dirs:
        found.append(work_dirs.c.state.in_(wanted.work_dirs))
    if wanted.text:
        found.append(executions.c.id.icontains(wanted.text, autoescape=True)
                     | executions.c.pipeline.icontains(wanted.text, autoescape=True))
    if wanted.pipeline:
        found.append(executions.c.pipeline.icontains(wanted.pipeline, autoescape=True))
    if wanted.user:
        found.append(sa.exists().where(
            events.c.execution_id == executions.c.id, events.c.name == "launch",
            events.c.actor.istartswith(wanted.user, autoescape=True)))
    if wanted.tag:
        found.append(_tagged(wanted.tag))
    if wanted.since is not None:
        found.append(executions.c.created_at >= wanted.since)
    if wanted.until is not None:
        found.append(executions.c.created_at < wanted.until)
    return found


def _tagged(tag: str) -> Any:
    key, equals, value = tag.partition("=")
    if equals:
        return sa.type_coerce(executions.c.tags, sa.JSON)[key].as_string() == value
    return sa.cast(executions.c.tags, sa.Text).icontains(tag, autoescape=True)
