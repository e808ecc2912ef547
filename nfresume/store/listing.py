"""The list of executions: filtered, sorted, counted, in pages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from nfresume.domain.executions import Execution, ExecutionState
from nfresume.domain.workdirs import WorkDirState
from nfresume.store import queries
from nfresume.store.database import Tx
from nfresume.store.schema import events, executions, work_dirs

# What is deleted keeps its size in the row, and takes no space: it comes last.
_GONE = sa.case((work_dirs.c.state == WorkDirState.DELETED, 1), else_=0)
_STORED = sa.func.coalesce(work_dirs.c.metered_bytes, 0)
_NEVER = work_dirs.c.expires_at.is_(None)
#: Sort orders, by name. `-down` is the other direction of a column.
SORTS: dict[str, tuple[Any, ...]] = {
    "newest": (executions.c.created_at.desc(), executions.c.id),
    "oldest": (executions.c.created_at, executions.c.id),
    "size": (_GONE, _STORED.desc(), executions.c.id),
    "size-down": (_GONE, _STORED, executions.c.id),
    "expiry": (_GONE, _NEVER, work_dirs.c.expires_at, executions.c.id),
    "expiry-down": (_GONE, _NEVER, work_dirs.c.expires_at.desc(), executions.c.id),
    "pipeline": (executions.c.pipeline, executions.c.created_at.desc()),
    "pipeline-down": (executions.c.pipeline.desc(), executions.c.created_at.desc()),
    "state": (executions.c.state, executions.c.created_at.desc()),
    "state-down": (executions.c.state.desc(), executions.c.created_at.desc()),
    "id": (executions.c.id,),
    "id-down": (executions.c.id.desc(),),
}
_BY_WORK_DIR = ("size", "size-down", "expiry", "expiry-down")
#: Work dirs that exist: few of all executions.
_PRESENT = (WorkDirState.ACTIVE, WorkDirState.RETAINED, WorkDirState.DELETING)
#: A count stops here, so that it takes milliseconds.
MOST_COUNTED = 1000


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
    """An account's executions, sorted by a key of SORTS (else the newest first).

    Ids are sorted first, and only the rows of the page are read: 100,000 whole rows would take a second.
    """
    ids = _ids(tx, account, wanted, sort, limit, offset)
    found = queries.by_ids(tx, ids)
    return [found[each] for each in ids if each in found]


def _ids(tx: Tx, account: str, wanted: Filter, sort: str, limit: int, offset: int) -> list[str]:
    if sort in _BY_WORK_DIR and not wanted.work_dirs:  # work dirs that are gone come last
        present = _ids(tx, account, replace(wanted, work_dirs=_PRESENT), sort, limit, offset)
        if len(present) == limit:
            return present
    query = sa.select(executions.c.id)
    if wanted.work_dirs or sort in _BY_WORK_DIR:
        query = query.join(work_dirs, work_dirs.c.execution_id == executions.c.id)
    query = query.where(*_conditions(account, wanted, ordered=sort in ("id", "id-down")))
    query = query.order_by(*SORTS.get(sort, SORTS["newest"])).limit(limit).offset(offset)
    return list(tx.conn.execute(query).scalars())


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
        events.c.execution_id.in_(list(ids)), _plain(events.c.name) == "launch")
    return {each: actor for each, actor in tx.conn.execute(query)}  # noqa: C416 - rows are no pairs to mypy


def _plain(column: Any) -> Any:
    """A column whose index is not used: SQLite would choose it, and read every row of the account."""
    return column.concat("")


def _conditions(account: str, wanted: Filter, *, ordered: bool = False) -> list[Any]:
    """`ordered`: the primary key gives the order."""
    few = bool(wanted.work_dirs) and set(wanted.work_dirs) <= set(_PRESENT)
    found: list[Any] = [(_plain(executions.c.account) if few or ordered else executions.c.account) == account]
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
            events.c.execution_id == executions.c.id, _plain(events.c.name) == "launch",
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
