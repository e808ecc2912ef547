"""Every change of an execution's state, from its launch to its settlement.

All functions take the transaction `tx`. Functions for a supervisor take its `Lease` and raise StaleLease for
an old token. Functions for a user raise Conflict when the state does not allow the change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from nfresume.domain import executions as ex
from nfresume.domain import workdirs as wd
from nfresume.domain.errors import Conflict, StaleLease
from nfresume.domain.executions import ExecutionState, Lease, TaskCounts
from nfresume.domain.retention import Decision
from nfresume.domain.workdirs import Claim, KeepKind, OnSuccess, Retain, WorkDirState
from nfresume.store.database import Tx
from nfresume.store.guarded import ALWAYS, current_attempt, lock, move, move_work_dir, record
from nfresume.store.keeping import kept, pinned
from nfresume.store.schema import attempts, executions, roots, work_dirs


@dataclass(frozen=True)
class Owner:
    """Where a supervisor runs: its host, and the boot id of that host."""

    host: str
    boot_id: str


@dataclass(frozen=True)
class NewExecution:
    """What `launch` stores."""

    id: str
    account: str
    root_id: str
    work_dir: str
    pipeline: str
    launch_dir: str
    session_id: str
    storage_expiration_hours: float
    storage_expiration_source: str
    pinned: bool
    retain: Retain = Retain.FULL
    on_success: OnSuccess = OnSuccess.DELETE
    tags: Mapping[str, str] | None = None


@dataclass(frozen=True)
class NewAttempt:
    """What is stored of one `nextflow run` before it starts; `options` are the user's own, in order."""

    pipeline: str
    options: tuple[str, ...]
    resume: bool
    nextflow: str | None
    nextflow_version: str | None
    launcher: str = "local"


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended, and what becomes of its work dir: `decision` keeps it, or has it deleted.

    `secured`: the results of a work dir that is deleted are safe already.
    """

    state: ExecutionState
    exit_code: int | None
    error: str | None
    clean_end: bool
    decision: Decision
    notice_at: datetime | None = None
    secured: bool = False


@dataclass(frozen=True)
class Claimant:
    """Who deletes a work dir, and for how long the claim holds unless it is renewed."""

    name: str
    seconds: float


def register_root(tx: Tx, root_id: str, path: str, inode: int) -> bool:
    """Register a marked root; False when its id or path is registered already."""
    try:
        with tx.conn.begin_nested():
            tx.conn.execute(roots.insert().values(id=root_id, path=path, inode=inode, created_at=tx.now))
    except IntegrityError:
        return False
    return True


def move_root(tx: Tx, root_id: str, path: str, inode: int) -> None:
    """Change the path and inode of a registered root, because the user said that it has moved."""
    tx.conn.execute(roots.update().where(roots.c.id == root_id).values(path=path, inode=inode))


def launch(tx: Tx, new: NewExecution, attempt: NewAttempt, actor: str) -> None:
    """-> QUEUED, work dir ACTIVE."""
    tx.conn.execute(
        executions.insert().values(
            id=new.id, account=new.account, root_id=new.root_id, pipeline=new.pipeline,
            launch_dir=new.launch_dir, session_id=new.session_id, state=ExecutionState.QUEUED, attempt=1,
            storage_expiration_hours=new.storage_expiration_hours,
            storage_expiration_source=new.storage_expiration_source, retain=new.retain,
            on_success=new.on_success, tags=dict(new.tags) if new.tags else None,
            created_at=tx.now, updated_at=tx.now, launched_by=actor,
        )
    )
    tx.conn.execute(
        work_dirs.insert().values(
            execution_id=new.id, path=new.work_dir, state=WorkDirState.ACTIVE, partial=False,
            looks=0, claim_token=0, **kept(pinned(actor) if new.pinned else None),
        )
    )
    _insert_attempt(tx, new.id, 1, attempt)
    record(tx, new.id, "launch", actor, 1, {"pipeline": new.pipeline})


def relaunch(
    tx: Tx, execution_id: str, number: int, attempt: NewAttempt, actor: str, work_dir: str
) -> None:
    """FAILED, CANCELLED or retained SUCCEEDED -> QUEUED; RETAINED -> ACTIVE; attempt `number`."""
    lock(tx, execution_id)
    move(tx, execution_id, ex.RELAUNCH, also=executions.c.attempt == number - 1, attempt=number)
    move_work_dir(tx, execution_id, wd.REUSE, reason=None, notice_at=None, path=work_dir)
    tx.conn.execute(  # the clock of the rule stops; what a person asked for, or a hold, stays
        work_dirs.update()
        .where(work_dirs.c.execution_id == execution_id, work_dirs.c.keep_kind == KeepKind.RULE)
        .values(**kept(None))
    )
    _insert_attempt(tx, execution_id, number, attempt)
    record(tx, execution_id, "relaunch", actor, number, {"pipeline": attempt.pipeline})


def _insert_attempt(tx: Tx, execution_id: str, number: int, new: NewAttempt) -> None:
    tx.conn.execute(
        attempts.insert().values(
            execution_id=execution_id, number=number, run_name=ex.run_name(execution_id, number),
            state=ExecutionState.QUEUED, pipeline=new.pipeline, options=list(new.options), resume=new.resume,
            nextflow=new.nextflow, nextflow_version=new.nextflow_version, clean_end=True, token=0,
            launcher=new.launcher,
            created_at=tx.now, **asdict(TaskCounts()),
        )
    )


def claim(tx: Tx, execution_id: str, owner: Owner, lease_seconds: float) -> Lease:
    """QUEUED -> RUNNING for exactly one supervisor; raises Conflict for all others."""
    lock(tx, execution_id)
    move(tx, execution_id, ex.CLAIM)
    number = current_attempt(tx, execution_id)
    mine = (attempts.c.execution_id == execution_id) & (attempts.c.number == number)
    tx.conn.execute(
        attempts.update().where(mine).values(
            state=ExecutionState.RUNNING, token=attempts.c.token + 1, started_at=tx.now,
            lease_until=tx.now + timedelta(seconds=lease_seconds), host=owner.host, boot_id=owner.boot_id,
        )
    )
    record(tx, execution_id, "claim", _supervisor(owner), number)
    return _lease(tx, execution_id, number)


def take_over(tx: Tx, execution_id: str, owner: Owner, lease_seconds: float) -> Lease:
    """Take over a running attempt whose lease ran out. Raises Conflict if it has not.

    The attempt keeps the host and boot id where its head was started.
    """
    lock(tx, execution_id)
    number = current_attempt(tx, execution_id)
    result = tx.conn.execute(
        attempts.update()
        .where(
            attempts.c.execution_id == execution_id,
            attempts.c.number == number,
            attempts.c.state.in_([ExecutionState.RUNNING, ExecutionState.CANCELLING]),
            attempts.c.lease_until < tx.now,
        )
        .values(token=attempts.c.token + 1, lease_until=tx.now + timedelta(seconds=lease_seconds))
    )
    if result.rowcount != 1:
        raise Conflict(f"another supervisor owns {execution_id}, or it has ended")
    record(tx, execution_id, "take_over", _supervisor(owner), number)
    return _lease(tx, execution_id, number)


def renew(tx: Tx, lease: Lease, lease_seconds: float, tasks: TaskCounts) -> ExecutionState:
    """Renew a lease and record progress; returns the execution's state, such as CANCELLING."""
    _update_leased(tx, lease, lease_until=tx.now + timedelta(seconds=lease_seconds), **asdict(tasks))
    state = tx.conn.execute(
        sa.select(executions.c.state).where(executions.c.id == lease.execution_id)
    ).scalar_one()
    return ExecutionState(state)


def forget_host(tx: Tx, execution_id: str, actor: str) -> None:
    """A person said that the host of the last attempt is gone: nothing of it can run any more."""
    lock(tx, execution_id)
    number = current_attempt(tx, execution_id)
    mine = (attempts.c.execution_id == execution_id) & (attempts.c.number == number)
    host = tx.conn.execute(sa.select(attempts.c.host).where(mine)).scalar()
    tx.conn.execute(attempts.update().where(mine).values(host=None, boot_id=None))
    record(tx, execution_id, "host_is_gone", actor, number, {"host": host})


def engine_chosen(tx: Tx, lease: Lease, nextflow: str, version: str) -> None:
    """Record which Nextflow an attempt runs, and its version."""
    _update_leased(tx, lease, nextflow=nextflow, nextflow_version=version)


def settle(
    tx: Tx, lease: Lease, outcome: Outcome, tasks: TaskCounts, actor: str, claimant: Claimant, *,
    goes_on: bool = False,
) -> tuple[ExecutionState, Claim | None]:
    """RUNNING -> SUCCEEDED or FAILED, CANCELLING -> CANCELLED or SUCCEEDED; the work dir with it.

    Returns the new state (a cancel that arrived in the meantime turns FAILED into CANCELLED) and, for a work
    dir that is to be deleted, the claim on it. `goes_on`: a new attempt follows at once, so nobody is told.
    """
    lock(tx, lease.execution_id)
    state = outcome.state
    if state is not ExecutionState.SUCCEEDED:
        cancelling = _state(tx, lease.execution_id) is ExecutionState.CANCELLING
        state = ExecutionState.CANCELLED if cancelling else ExecutionState.FAILED
    _update_leased(
        tx, lease, state=state, exit_code=outcome.exit_code, error=outcome.error, ended_at=tx.now,
        clean_end=outcome.clean_end, lease_until=None, **asdict(tasks),
    )
    transition = {
        ExecutionState.SUCCEEDED: ex.SUCCEED,
        ExecutionState.FAILED: ex.FAIL,
        ExecutionState.CANCELLED: ex.END_CANCELLED,
    }[state]
    move(tx, lease.execution_id, transition)
    claim = _leave_work_dir(tx, lease.execution_id, outcome, claimant)
    detail = {"exit_code": outcome.exit_code, "work_dir": "deleting" if claim else "kept",
              "reason": outcome.decision.reason, **({"goes_on": True} if goes_on else {})}
    record(tx, lease.execution_id, transition.name, actor, lease.number, detail)
    return state, claim


def _leave_work_dir(tx: Tx, execution_id: str, outcome: Outcome, claimant: Claimant) -> Claim | None:
    """ACTIVE -> RETAINED, or -> DELETING with a claim."""
    decision = outcome.decision
    if decision.keep is None:
        secured = {"secured_at": tx.now} if outcome.secured else {}
        return start_deletion(tx, execution_id, wd.DISCARD, claimant, reason=decision.reason, **secured)
    move_work_dir(
        tx, execution_id, wd.RETAIN, reason=decision.reason, notice_at=outcome.notice_at,
        look_again_at=decision.look_again_at, looks=0, **kept(decision.keep),
    )
    return None


def start_deletion(
    tx: Tx, execution_id: str, transition: wd.WorkDirTransition, claimant: Claimant, also: Any = ALWAYS,
    **values: Any,
) -> Claim:
    """-> DELETING, with a claim that is newer than any before. Raises Conflict or NotFound."""
    move_work_dir(
        tx, execution_id, transition, also=also, claimed_by=claimant.name,
        claimed_until=tx.now + timedelta(seconds=claimant.seconds),
        claim_token=work_dirs.c.claim_token + 1,
        **{"secured_at": None, "look_again_at": None, **values},
    )
    return current_claim(tx, execution_id)


def current_claim(tx: Tx, execution_id: str) -> Claim:
    """The newest claim on a work dir."""
    query = sa.select(work_dirs.c.claim_token).where(work_dirs.c.execution_id == execution_id)
    return Claim(execution_id, tx.conn.execute(query).scalar_one())


def cancel_queued(
    tx: Tx, execution_id: str, outcome: Outcome, actor: str, claimant: Claimant
) -> Claim | None:
    """QUEUED -> CANCELLED; nothing was started, and no supervisor can claim it any more.

    Returns the claim on a work dir that is to be deleted.
    """
    lock(tx, execution_id)
    number = current_attempt(tx, execution_id)
    move(tx, execution_id, ex.CANCEL_QUEUED)
    mine = (attempts.c.execution_id == execution_id) & (attempts.c.number == number)
    tx.conn.execute(
        attempts.update().where(mine).values(state=ExecutionState.CANCELLED, ended_at=tx.now,
                                             error=outcome.error)
    )
    claim = _leave_work_dir(tx, execution_id, outcome, claimant)
    record(tx, execution_id, "cancel_queued", actor, number, {"reason": outcome.decision.reason})
    return claim


def cancel(tx: Tx, execution_id: str, actor: str) -> None:
    """RUNNING -> CANCELLING; its supervisor will stop the head."""
    lock(tx, execution_id)
    number = current_attempt(tx, execution_id)
    move(tx, execution_id, ex.CANCEL)
    mine = (attempts.c.execution_id == execution_id) & (attempts.c.number == number)
    tx.conn.execute(attempts.update().where(mine).values(state=ExecutionState.CANCELLING))
    record(tx, execution_id, "cancel", actor, number)


def _update_leased(tx: Tx, lease: Lease, **values: Any) -> None:
    result = tx.conn.execute(
        attempts.update()
        .where(
            attempts.c.execution_id == lease.execution_id,
            attempts.c.number == lease.number,
            attempts.c.token == lease.token,
            attempts.c.state.in_([ExecutionState.RUNNING, ExecutionState.CANCELLING]),
        )
        .values(**values)
    )
    if result.rowcount != 1:
        raise StaleLease(f"another supervisor owns attempt {lease.number} of {lease.execution_id}")


def _state(tx: Tx, execution_id: str) -> ExecutionState:
    query = sa.select(executions.c.state).where(executions.c.id == execution_id)
    return ExecutionState(tx.conn.execute(query).scalar_one())


def _lease(tx: Tx, execution_id: str, number: int) -> Lease:
    token = tx.conn.execute(
        sa.select(attempts.c.token).where(
            attempts.c.execution_id == execution_id, attempts.c.number == number
        )
    ).scalar_one()
    return Lease(execution_id, number, token)


def _supervisor(owner: Owner) -> str:
    return f"supervisor@{owner.host}"


