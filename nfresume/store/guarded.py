"""One guarded UPDATE that must match a row, and one event: what every change of state is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from nfresume.domain import executions as ex
from nfresume.domain import workdirs as wd
from nfresume.domain.errors import Conflict, NotFound
from nfresume.domain.workdirs import KeepKind
from nfresume.store.database import Tx
from nfresume.store.schema import events, executions, work_dirs

ALWAYS = sa.true()


def lock(tx: Tx, execution_id: str) -> None:
    """Take the execution's row before any other of it: all transactions lock in this order."""
    tx.conn.execute(sa.select(executions.c.id).where(executions.c.id == execution_id).with_for_update())


def move(
    tx: Tx, execution_id: str, transition: ex.Transition, also: Any = ALWAYS, **values: Any
) -> None:
    result = tx.conn.execute(
        executions.update()
        .where(executions.c.id == execution_id, executions.c.state.in_(transition.sources), also)
        .values(state=transition.target, updated_at=tx.now, **values)
    )
    if result.rowcount != 1:
        raise refused(tx, execution_id, transition.name.replace("_", " "))


def move_work_dir(
    tx: Tx, execution_id: str, transition: wd.WorkDirTransition, also: Any = ALWAYS, **values: Any
) -> None:
    """One guarded change of a work dir's state. Raises Conflict or NotFound."""
    result = tx.conn.execute(
        work_dirs.update()
        .where(
            work_dirs.c.execution_id == execution_id, work_dirs.c.state.in_(transition.sources), also
        )
        .values(state=transition.target, **values)
    )
    if result.rowcount != 1:
        raise refused(tx, execution_id, transition.name)


def refused(tx: Tx, execution_id: str, action: str) -> Conflict | NotFound:
    row = tx.conn.execute(
        sa.select(executions.c.state, work_dirs.c.state, work_dirs.c.keep_kind)
        .join(work_dirs, work_dirs.c.execution_id == executions.c.id)
        .where(executions.c.id == execution_id)
    ).first()
    if row is None:
        return NotFound(f"there is no execution {execution_id}", "`nfresume list` shows them")
    pinned = " and pinned" if row[2] == KeepKind.PINNED else ""
    hint = f"`nfresume show {execution_id}` tells more"
    if pinned and action in ("delete", "keep"):
        hint = f"`nfresume unpin {execution_id}` first"
    if action == "keep":
        action = "extend"
    if action == "unpin" and not pinned:
        return Conflict(f"{execution_id} is not pinned: there is nothing to unpin", hint)
    return Conflict(f"cannot {action} {execution_id}: it is {row[0]}, its work dir {row[1]}{pinned}", hint)


def current_attempt(tx: Tx, execution_id: str) -> int:
    number: int | None = tx.conn.execute(
        sa.select(executions.c.attempt).where(executions.c.id == execution_id)
    ).scalar()
    if number is None:
        raise NotFound(f"there is no execution {execution_id}", "`nfresume list` shows them")
    return number


def record(
    tx: Tx, execution_id: str, name: str, actor: str, attempt: int | None = None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Add an event to an execution's history."""
    tx.conn.execute(
        events.insert().values(execution_id=execution_id, attempt=attempt, at=tx.now, name=name,
                               actor=actor, detail=dict(detail or {}))
    )


def note(tx: Tx, execution_id: str, name: str, actor: str, detail: Mapping[str, Any]) -> None:
    """Record an event that changes no state, such as how many results were materialised."""
    record(tx, execution_id, name, actor, current_attempt(tx, execution_id), detail)
