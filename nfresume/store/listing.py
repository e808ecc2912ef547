"""The list of executions: filtered, sorted, counted, in pages."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from nfresume.domain.executions import Execution, ExecutionState
from nfresume.domain.workdirs import WorkDirState
from nfresume.store import queries
from nfresume.store.database import Tx
from nfresume.store.schema import executions, work_dirs

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
#: So many different pipelines, or people, are looked through for a text.
_MOST_VALUES = 1000


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
    ids = _ids(tx, _Named(tx, account, wanted), wanted, sort, limit, offset)
    found = queries.by_ids(tx, ids)
    return [found[each] for each in ids if each in found]


def _ids(tx: Tx, named: _Named, wanted: Filter, sort: str, limit: int, offset: int) -> list[str]:
    if named.few == []:
        return []
    if sort in _BY_WORK_DIR and not wanted.work_dirs:  # work dirs that are gone come last
        present = _ids(tx, named, replace(wanted, work_dirs=_PRESENT), sort, limit, offset)
        if len(present) == limit:
            return present
    query = sa.select(executions.c.id)
    if wanted.work_dirs or sort in _BY_WORK_DIR:
        query = query.join(work_dirs, work_dirs.c.execution_id == executions.c.id)
    query = query.where(*_conditions(named, wanted, ordered=sort in ("id", "id-down")))
    query = query.order_by(*SORTS.get(sort, SORTS["newest"])).limit(limit).offset(offset)
    return list(tx.conn.execute(query).scalars())


def count(tx: Tx, account: str, wanted: Filter) -> int:
    """How many executions match; at most MOST_COUNTED."""
    query = sa.select(sa.literal(1)).select_from(executions)
    if wanted.work_dirs:
        query = query.join(work_dirs, work_dirs.c.execution_id == executions.c.id)
    conditions = _conditions(_Named(tx, account, wanted), wanted)
    inner = query.where(*conditions).limit(MOST_COUNTED).subquery()
    return int(tx.conn.execute(sa.select(sa.func.count()).select_from(inner)).scalar_one())


class _Named:
    """The filters by a text, as conditions.

    `few` are the ids of those that pass one of them, when these are not many. Otherwise executions are looked
    at in the order of the list until the page is full; for a text that hardly any has, that would be all of
    them, each with its whole row. The few are found in an index.
    """

    def __init__(self, tx: Tx, account: str, wanted: Filter) -> None:
        self._tx = tx
        self.account = account
        self.conditions: list[Any] = []
        self.few: list[str] | None = None
        if wanted.user:
            self._add(*self._among(executions.c.launched_by, wanted.user, begins=True))
        if wanted.pipeline:
            self._add(*self._among(executions.c.pipeline, wanted.pipeline))
        if wanted.text:
            in_id = executions.c.id.contains(wanted.text.lower(), autoescape=True)  # ids have small letters
            self._add(*(in_id | each for each in self._among(executions.c.pipeline, wanted.text)))
        if wanted.tag:
            self._add(_tagged(wanted.tag), _tagged(wanted.tag))

    def _among(self, column: sa.Column[Any], text: str, *, begins: bool = False) -> tuple[Any, Any]:
        """The condition that a column contains a text, or begins with it: pipelines, people.

        First as it is found in an index, then so that no index is used for it. If there are not too many
        different values, they are looked through once, and not for each execution.
        """
        values = _different(self._tx, column, self.account)
        if len(values) == _MOST_VALUES:
            of_each = (column.istartswith if begins else column.icontains)(text, autoescape=True)
            return of_each, of_each
        found = [value for value in values if text.lower() in (
            value[:len(text)] if begins else value).lower()]
        return column.in_(found), queries.plain(column).in_(found)

    def _add(self, indexed: Any, condition: Any) -> None:
        self.conditions.append(condition)
        if self.few is None:
            query = sa.select(executions.c.id).where(executions.c.account == self.account, indexed)
            found = list(self._tx.conn.execute(query.limit(MOST_COUNTED)).scalars())
            self.few = found if len(found) < MOST_COUNTED else None


def _different(tx: Tx, column: sa.Column[Any], account: str) -> list[str]:
    """The different values of a column in an account, in order; at most _MOST_VALUES.

    Each is found in the index from the one before. DISTINCT would read the entry of each execution.
    """
    least = sa.select(sa.func.min(column)).where(executions.c.account == account)
    value = least.cte("value", recursive=True)
    name = value.c[0]
    value = value.union_all(sa.select(least.where(column > name).scalar_subquery()).where(name.is_not(None)))
    found = sa.select(value.c[0]).where(value.c[0].is_not(None)).limit(_MOST_VALUES)
    return list(tx.conn.execute(found).scalars())


def _conditions(named: _Named, wanted: Filter, *, ordered: bool = False) -> list[Any]:
    """`ordered`: the primary key gives the order."""
    few = bool(wanted.work_dirs) and set(wanted.work_dirs) <= set(_PRESENT)
    other_way = few or ordered or named.few is not None  # than by the index of the account
    whose = queries.plain(executions.c.account) if other_way else executions.c.account
    found: list[Any] = [whose == named.account]
    if named.few is not None:
        found.append(executions.c.id.in_(named.few))
    if wanted.states:
        found.append(executions.c.state.in_(wanted.states))
    if wanted.work_dirs:
        found.append(work_dirs.c.state.in_(wanted.work_dirs))
    found += named.conditions
    if wanted.since is not None:
        found.append(executions.c.created_at >= wanted.since)
    if wanted.until is not None:
        found.append(executions.c.created_at < wanted.until)
    return found


def _tagged(tag: str) -> Any:
    key, equals, value = tag.partition("=")
    if equals:
        # as it stands in the document, first: taking each document apart would take ten times as long
        written = sa.cast(executions.c.tags, sa.Text).contains(json.dumps(value), autoescape=True)
        return written & (sa.type_coerce(executions.c.tags, sa.JSON)[key].as_string() == value)
    return sa.cast(executions.c.tags, sa.Text).icontains(tag, autoescape=True)
