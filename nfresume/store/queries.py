"""All reads. Each function takes the transaction `tx` in which it reads; none changes anything."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

import sqlalchemy as sa

from nfresume.domain.errors import NotFound, UsageError
from nfresume.domain.executions import Attempt, Event, Execution, ExecutionState, TaskCounts
from nfresume.domain.retention import is_due
from nfresume.domain.workdirs import (
    Keep,
    KeepKind,
    OnSuccess,
    RemovalProgress,
    Retain,
    WorkDir,
    WorkDirState,
)
from nfresume.store.database import Tx
from nfresume.store.schema import attempts, events, executions, roots, size_samples, work_dirs

_log = logging.getLogger(__name__)
_JOINED = sa.select(executions, work_dirs).join(work_dirs, work_dirs.c.execution_id == executions.c.id)
_EXECUTION, _WORK_DIR = executions.c.keys(), work_dirs.c.keys()


@dataclass(frozen=True)
class RootRecord:
    """A registered root: its id, path and inode."""

    id: str
    path: str
    inode: int


def get(tx: Tx, execution_id: str) -> Execution:
    """The execution with this exact id. Raises NotFound."""
    row = tx.conn.execute(_JOINED.where(executions.c.id == execution_id)).first()
    if row is None:
        raise NotFound(f"there is no execution {execution_id}", "`nfresume list` shows them")
    return _execution(row)


def find(tx: Tx, prefix: str, account: str) -> Execution:
    """The account's execution whose id starts with `prefix`. Raises NotFound or UsageError."""
    pattern = prefix.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    rows = tx.conn.execute(
        _JOINED.where(executions.c.account == account, executions.c.id.like(pattern, escape="\\"))
        .order_by(executions.c.id)
        .limit(5)
    ).all()
    matches = [_execution(row) for row in rows if row.id.startswith(prefix)]
    for execution in matches:
        if execution.id == prefix:
            return execution
    if not matches or not prefix:
        raise NotFound(
            f"account {account} has no execution {prefix!r}", "`nfresume list` shows its executions"
        )
    if len(matches) > 1:
        raise UsageError(
            f"{prefix!r} is ambiguous: {', '.join(e.id for e in matches)}", "type more of the id"
        )
    return matches[0]


def newest(
    tx: Tx, account: str | None, *, states: Iterable[ExecutionState] = (), limit: int = 50,
    launch_dir: str | None = None, session_id: str | None = None, pipeline: str | None = None,
    before: tuple[datetime, str] | None = None,
) -> list[Execution]:
    """Executions, newest first, of one account (None = all).

    `before` is the creation time and the id of the last execution on the previous page.
    """
    query = _JOINED.order_by(executions.c.created_at.desc(), executions.c.id).limit(limit)
    if account is not None:
        query = query.where(executions.c.account == account)
    if before is not None:
        created, last = before
        query = query.where((executions.c.created_at < created)
                            | ((executions.c.created_at == created) & (executions.c.id > last)))
    if chosen := list(states):
        query = query.where(executions.c.state.in_(chosen))
    if launch_dir is not None:
        query = query.where(executions.c.launch_dir == launch_dir)
    if session_id is not None:
        query = query.where(executions.c.session_id == session_id)
    if pipeline is not None:
        query = query.where(executions.c.pipeline == pipeline)
    return _executions(tx.conn.execute(query))


def storing(tx: Tx, account: str | None, since: datetime) -> list[Execution]:
    """Executions of one account (None = all) whose work dir was not deleted before `since`."""
    query = _JOINED.where(not_gone_before(since))
    if account is not None:
        query = query.where(plain(executions.c.account) == account)
    return _executions(tx.conn.execute(query))


def plain(column: Any) -> Any:
    """A column whose index is not used: SQLite would choose it, and read every row of the account."""
    return column.concat("")


def not_gone_before(since: datetime) -> Any:
    """The condition that a work dir was not deleted before a moment."""
    gone = work_dirs.c.state == WorkDirState.DELETED
    present = work_dirs.c.state.in_([state for state in WorkDirState if state is not WorkDirState.DELETED])
    # three look-ups in an index
    return present | (gone & work_dirs.c.deleted_at.is_(None)) | (gone & (work_dirs.c.deleted_at >= since))


def newest_failures(tx: Tx, account: str | None, pipeline: str, limit: int) -> list[Execution]:
    """The newest measured executions of a pipeline that did not succeed, of one account (None = all)."""
    failed = executions.c.state.in_([ExecutionState.FAILED, ExecutionState.CANCELLED])
    measured = sa.exists().where(size_samples.c.execution_id == executions.c.id)
    query = _JOINED.where(executions.c.pipeline == pipeline, failed, measured)
    if account is not None:
        query = query.where(executions.c.account == account)
    query = query.order_by(executions.c.created_at.desc(), executions.c.id).limit(limit)
    return _executions(tx.conn.execute(query))


def task_counts(tx: Tx, execution_ids: Iterable[str]) -> dict[str, TaskCounts]:
    """By execution id, the task counts of its last attempt."""
    columns = [attempts.c[name] for name in TaskCounts.__dataclass_fields__]
    query = sa.select(attempts.c.execution_id, *columns).join(
        executions, executions.c.id == attempts.c.execution_id).where(
        executions.c.id.in_(list(execution_ids)), attempts.c.number == executions.c.attempt)
    return {execution_id: TaskCounts(*counts) for execution_id, *counts in tx.conn.execute(query)}


def state_counts(tx: Tx, account: str) -> dict[ExecutionState, int]:
    """How many executions of an account are in each state."""
    query = (sa.select(executions.c.state, sa.func.count()).where(executions.c.account == account)
             .group_by(executions.c.state))
    found = {ExecutionState(state): number for state, number in tx.conn.execute(query)}
    return {state: found.get(state, 0) for state in ExecutionState}


def attempts_of(tx: Tx, execution_id: str) -> list[Attempt]:
    """All attempts, oldest first."""
    query = attempts.select().where(attempts.c.execution_id == execution_id).order_by(attempts.c.number)
    return [_attempt(row) for row in tx.conn.execute(query)]


def attempt(tx: Tx, execution_id: str, number: int) -> Attempt:
    """One attempt. Raises NotFound."""
    row = tx.conn.execute(
        attempts.select().where(attempts.c.execution_id == execution_id, attempts.c.number == number)
    ).first()
    if row is None:
        raise NotFound(f"{execution_id} has no attempt {number}", f"`nfresume show {execution_id}`")
    return _attempt(row)


def events_of(tx: Tx, execution_id: str) -> list[Event]:
    """An execution's events, oldest first."""
    query = events.select().where(events.c.execution_id == execution_id).order_by(events.c.id)
    return [Event(r.at, r.name, r.actor, r.attempt, r.detail) for r in tx.conn.execute(query)]


@dataclass(frozen=True)
class Change:
    """An event, or the progress of a live attempt. `key` is unique; `what` is the event's name or `tasks`."""

    key: tuple[str, ...]
    type: str  # event | progress
    account: str
    execution_id: str
    what: str


def changes(tx: Tx, since: timedelta) -> list[Change]:
    """Events not older than `since`, and the task counts of each running attempt."""
    recent = (
        sa.select(events.c.id, events.c.name, executions.c.account, executions.c.id)
        .join(executions, executions.c.id == events.c.execution_id)
        .where(events.c.at > tx.now - since)
        .order_by(events.c.id)
    )
    found = [Change(("event", str(number)), "event", account, execution_id, name)
             for number, name, account, execution_id in tx.conn.execute(recent)]
    current = (attempts.c.execution_id == executions.c.id) & (attempts.c.number == executions.c.attempt)
    running = (
        sa.select(executions.c.id, executions.c.account, attempts.c.number, attempts.c.submitted,
                  attempts.c.cached, attempts.c.succeeded, attempts.c.failed)
        .join(attempts, current)
        .where(executions.c.state.in_([ExecutionState.RUNNING, ExecutionState.CANCELLING]))
    )
    for execution_id, account, *numbers in tx.conn.execute(running):
        key = ("progress", execution_id, *map(str, numbers))
        found.append(Change(key, "progress", account, execution_id, "tasks"))
    return found


def to_sweep(tx: Tx) -> list[Execution]:
    """Executions whose work dir is RETAINED or DELETING, soonest expiry first."""
    query = _JOINED.where(work_dirs.c.state.in_([WorkDirState.RETAINED, WorkDirState.DELETING]))
    query = query.order_by(work_dirs.c.expires_at.is_(None), work_dirs.c.expires_at, executions.c.id)
    return _executions(tx.conn.execute(query))


def due(tx: Tx) -> list[Execution]:
    """Executions that a sweep must act on: expired, held and to be looked at again, or being deleted."""
    retained = work_dirs.c.state == WorkDirState.RETAINED
    deleting = work_dirs.c.state == WorkDirState.DELETING
    again = work_dirs.c.look_again_at <= tx.now
    # three index look-ups; an OR would scan the table
    ids = sa.union(*(sa.select(work_dirs.c.execution_id).where(which) for which in (
        deleting, retained & (work_dirs.c.expires_at <= tx.now), retained & again)))
    found = by_ids(tx, sorted(tx.conn.execute(ids).scalars()))
    return [e for e in found.values() if _acts(e.work_dir, tx.now)]


def _acts(work_dir: WorkDir, now: datetime) -> bool:
    if work_dir.state is WorkDirState.DELETING:
        return work_dir.look_again_at is None or work_dir.look_again_at <= now
    return is_due(work_dir, now)


def expiring(tx: Tx) -> list[Execution]:
    """Executions with a retained work dir for which the notice of its expiry is due."""
    # The other conditions are checked in Python: with them SQLite would choose a worse index.
    query = _JOINED.where(work_dirs.c.notice_at <= tx.now).order_by(work_dirs.c.notice_at)
    found = _executions(tx.conn.execute(query))
    return [e for e in found if e.work_dir.state is WorkDirState.RETAINED
            and e.work_dir.expires_at is not None and e.work_dir.expires_at > tx.now]


def to_measure(tx: Tx, seconds: float, limit: int = 100) -> list[Execution]:
    """Executions whose active or retained work dir was not measured for `seconds`; never measured ones first.

    An active work dir that was never measured is listed when its execution has not changed for `seconds`.
    """
    before = tx.now - timedelta(seconds=seconds)
    never = work_dirs.c.measured_at.is_(None)
    found: list[Execution] = []
    for which in (never, work_dirs.c.measured_at < before):
        for state in (WorkDirState.RETAINED, WorkDirState.ACTIVE):
            query = _JOINED.where(work_dirs.c.state == state, which).limit(limit)
            if state is WorkDirState.ACTIVE and which is never:
                query = query.where(executions.c.updated_at < before)
            query = query.order_by(work_dirs.c.measured_at, executions.c.id)
            found += _executions(tx.conn.execute(query))
    return found


def lost(tx: Tx, queued_seconds: float) -> list[Execution]:
    """Executions whose lease ran out, or that no supervisor claimed within `queued_seconds`."""
    current = (attempts.c.execution_id == executions.c.id) & (attempts.c.number == executions.c.attempt)
    running = executions.c.state.in_([ExecutionState.RUNNING, ExecutionState.CANCELLING])
    queued = executions.c.state == ExecutionState.QUEUED
    query = (
        sa.select(executions, work_dirs)
        .join(work_dirs, work_dirs.c.execution_id == executions.c.id)
        .join(attempts, current)
        .where(
            (running & (attempts.c.lease_until < tx.now))
            | (queued & (executions.c.updated_at < tx.now - timedelta(seconds=queued_seconds)))
        )
    )
    return _executions(tx.conn.execute(query))


def root(tx: Tx, root_id: str) -> RootRecord:
    """A registered root. Raises NotFound."""
    if (found := known_root(tx, root_id)) is None:
        raise NotFound(f"the database knows no root {root_id}")
    return found


def known_root(tx: Tx, root_id: str) -> RootRecord | None:
    """The registered root with this id, or None."""
    row = tx.conn.execute(roots.select().where(roots.c.id == root_id)).first()
    return RootRecord(row.id, row.path, row.inode) if row else None


def accounts_with_work_dirs(tx: Tx) -> list[str]:
    """The accounts that have executions whose work dir is not deleted."""
    query = (sa.select(executions.c.account).distinct()
             .join(work_dirs, work_dirs.c.execution_id == executions.c.id)
             .where(work_dirs.c.state != WorkDirState.DELETED))
    return list(tx.conn.execute(query).scalars())


def by_ids(tx: Tx, ids: Iterable[str]) -> dict[str, Execution]:
    """The executions with these ids; one that is not there, or cannot be read, is left out."""
    found: dict[str, Execution] = {}
    left = iter(ids)
    while some := list(islice(left, 1000)):  # a database takes so many values in one statement
        rows = tx.conn.execute(_JOINED.where(executions.c.id.in_(some)))
        found.update((e.id, e) for e in _executions(rows))
    return found


def all_roots(tx: Tx) -> list[RootRecord]:
    """Every registered root."""
    return [RootRecord(r.id, r.path, r.inode) for r in tx.conn.execute(roots.select())]


def known(tx: Tx) -> dict[str, tuple[int, WorkDirState]]:
    """The number of attempts of every execution, and the state of its work dir, by its id."""
    rows = tx.conn.execute(
        sa.select(executions.c.id, executions.c.attempt, work_dirs.c.state)
        .join(work_dirs, work_dirs.c.execution_id == executions.c.id))
    return {row.id: (row.attempt, WorkDirState(row.state)) for row in rows}


def root_at(tx: Tx, path: str) -> RootRecord | None:
    """The root that is registered at `path`, or None."""
    row = tx.conn.execute(roots.select().where(roots.c.path == path)).first()
    return RootRecord(row.id, row.path, row.inode) if row else None


def _executions(rows: Iterable[Any]) -> list[Execution]:
    """Executions of a list. A row that cannot be read is told of, and hides no other."""
    found = []
    for row in rows:
        try:
            found.append(_execution(row))
        except (TypeError, ValueError, KeyError) as e:
            _log.error("execution %s cannot be read from the database: %s", row[0], e)
    return found


def _execution(row: Any) -> Execution:
    values = tuple(row)
    e = dict(zip(_EXECUTION, values, strict=False))
    w = dict(zip(_WORK_DIR, values[len(_EXECUTION):], strict=True))
    del w["execution_id"], w["claim_token"]
    w["state"] = WorkDirState(w["state"])
    kind, until, by, why = (w.pop(name) for name in ("keep_kind", "expires_at", "kept_by", "kept_why"))
    w["keep"] = Keep(KeepKind(kind), why, until, by) if kind else None
    w["removal"] = RemovalProgress(**w["removal"]) if w["removal"] else None
    e["state"], e["retain"] = ExecutionState(e["state"]), Retain(e["retain"])
    e["on_success"] = OnSuccess(e["on_success"])
    return Execution(**e, work_dir=WorkDir(**w))


def _attempt(row: Any) -> Attempt:
    return Attempt(
        execution_id=row.execution_id, number=row.number, run_name=row.run_name,
        state=ExecutionState(row.state), options=tuple(row.options), pipeline=row.pipeline,
        resume=row.resume,
        nextflow=row.nextflow, nextflow_version=row.nextflow_version,
        tasks=TaskCounts(row.submitted, row.cached, row.succeeded, row.failed, row.ignored, row.retried),
        exit_code=row.exit_code, error=row.error, clean_end=row.clean_end,
        launcher=row.launcher, host=row.host,
        boot_id=row.boot_id, token=row.token, lease_until=row.lease_until, created_at=row.created_at,
        started_at=row.started_at, ended_at=row.ended_at,
    )
