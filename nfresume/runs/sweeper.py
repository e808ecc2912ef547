"""The sweep: one pass that settles lost attempts and deletes what is due.

Any number of sweeps may run at once, on any host.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from nfresume.billing import enforcement, pricing
from nfresume.domain import retention
from nfresume.domain.errors import Conflict, NfresumeError, NotFound, StaleLease
from nfresume.domain.executions import Execution, ExecutionState, run_name
from nfresume.domain.workdirs import RemovalProgress, WorkDirState
from nfresume.launchers import LocalLauncher, slurm
from nfresume.nextflow import processes as nextflow_processes
from nfresume.nextflow.log import RunLog
from nfresume.retained import disposal, places
from nfresume.runs import settlement, supervisor
from nfresume.settings import Settings
from nfresume.storage import Root, removal, trash
from nfresume.store import Store, clock, queries, removals, transitions
from nfresume.system import crashpoints, processes


@dataclass(frozen=True)
class SweepLine:
    """One line of a sweep's report: what it did, or would do, with an execution, and why."""

    execution: Execution
    action: str
    reason: str
    done: str = ""
    error: str = ""
    removal: RemovalProgress | None = None


def sweep(
    store: Store, conf: Settings, *, dry_run: bool = False,
    progress: Callable[[Execution, RemovalProgress], None] = lambda _e, _r: None,
    stop: threading.Event | None = None, notify: Callable[[str], None] = lambda _: None,
    thorough: bool = True,
) -> list[SweepLine]:
    """Settle lost attempts, then delete what is due; a dry run only returns the plan.

    An error with one execution is in its line, and the sweep goes on. When `stop` is set the running removal
    pauses, and the next sweep does the rest. `notify` gets messages that concern no single execution. Unless
    `thorough`, work dirs that stay kept are not listed, and recently tidied task caches are skipped.
    """
    stop = stop or threading.Event()
    if not dry_run and (trouble := pricing.record(store, conf)):
        notify(f"the price of {conf.root} is not up to date: {trouble}")
    lines = [_reconcile(store, conf, execution, dry_run, stop) for execution in _lost(store, conf)]
    sweeping = _Sweep(store, conf, progress, stop)
    planned, noted = _plan(store, conf, thorough=thorough)
    if not dry_run and (held := _clock_jumped(store, planned, noted=noted)):
        notify(held)
        planned = [replace(line, action="keep", reason=held) if line.action in ("delete", "evict") else line
                   for line in planned]
    for line in planned:
        if dry_run or line.action == "keep":
            lines.append(SweepLine(line.execution, line.action, line.reason))
        elif not stop.is_set():
            lines.append(sweeping.carry_out(line))
    if not dry_run and not stop.is_set():
        _tidy(store, conf, stop, thorough=thorough)
        for trouble in enforcement.warn(store, conf, actor()):
            notify(trouble)
    return lines


def _tidy(store: Store, conf: Settings, stop: threading.Event, *, thorough: bool) -> None:
    """Empty the trash, prune the task caches of every root, and record which work dirs expire soon."""
    from nfresume.retained import task_caches  # only here: a launch may settle a lost attempt, and is fast

    with store.begin(write=False) as tx:
        roots = [Root(Path(r.path), r.id, r.inode) for r in queries.all_roots(tx)]
        near = queries.expiring(tx)
    for root in roots:
        with contextlib.suppress(NfresumeError, OSError):  # the root is not there: skip it
            _drain_trash(store, conf, root, stop)
            task_caches.tidy(store, conf, root, stop, thorough=thorough)
    for execution in near:
        assert execution.work_dir.expires_at is not None
        with store.begin() as tx:
            transitions.expiry_near(tx, execution.id, execution.work_dir.expires_at, actor())


def _plan(store: Store, conf: Settings, *, thorough: bool) -> tuple[list[retention.PlanLine], bool]:
    """The plan: what is due, and what budgets evict of the rest. Also whether the time was noted lately."""
    with store.begin(write=False) as tx:
        found = queries.to_sweep(tx) if thorough or conf.budgets else queries.due(tx)
        planned, noted = retention.plan(found, tx.now), clock.is_noted(tx)
    if not conf.budgets:
        return planned, noted
    staying = [line.execution for line in planned if line.action == "keep"]
    evicted = {line.execution.id: line for line in enforcement.plan(store, conf, staying)}
    return [evicted.get(line.execution.id, line) for line in planned], noted


def _clock_jumped(store: Store, planned: list[retention.PlanLine], *, noted: bool) -> str | None:
    """Why nothing may be deleted now: the clock may be wrong. None when it is plausible."""
    due = any(line.action in ("delete", "evict") for line in planned)
    if noted and not due:
        return None
    with store.begin() as tx:
        held, now = clock.check(tx), tx.now
    if held is None or not due:
        return None
    return (f"the clock says {now:%Y-%m-%d %H:%M} UTC, more than {clock.MAX_GAP.days} days after the last "
            f"known time: nothing is deleted before {held:%H:%M} UTC, in case the clock is wrong")


def actor() -> str:
    """The actor of a sweep's events."""
    return f"sweeper@{socket.gethostname()}:{os.getpid()}"


def settle_if_lost(store: Store, conf: Settings, execution_id: str) -> None:
    """Settle one execution if its supervisor is lost, as a sweep does; otherwise do nothing."""
    for execution in _lost(store, conf):
        if execution.id == execution_id:
            _reconcile(store, conf, execution, False, threading.Event())


# -- lost attempts ------------------------------------------------------------------------------


def _lost(store: Store, conf: Settings) -> list[Execution]:
    with store.begin(write=False) as tx:
        return queries.lost(tx, conf.lease_seconds)


def _reconcile(
    store: Store, conf: Settings, execution: Execution, dry_run: bool, stop: threading.Event
) -> SweepLine:
    """Settle a lost attempt, or start a new supervisor for it if its head is alive."""
    try:
        action, reason = _diagnose(store, execution)
    except (NfresumeError, OSError) as e:
        return SweepLine(execution, "keep", "lost", error=str(e))
    if dry_run or action == "keep":
        return SweepLine(execution, action, reason)
    try:
        if action == "adopt":
            folder = places.folder_of(store, execution)
            log = folder.attempt(execution.attempt) / "supervisor.log"
            LocalLauncher(conf).start(execution.id, run_name(execution.id, execution.attempt), log)
            return SweepLine(execution, action, reason, done="a new supervisor follows it")
        state = fail_queued(store, conf, execution, reason) if action == "fail" else supervisor.supervise(
            store, conf, execution.id, stop)
        return SweepLine(execution, action, reason, done=f"settled as {state}")
    except (Conflict, StaleLease):
        return SweepLine(execution, action, reason, done="another process was faster")
    except (NfresumeError, OSError) as e:
        return SweepLine(execution, action, reason, error=str(e))


def _diagnose(store: Store, execution: Execution) -> tuple[str, str]:
    """What to do with a lost attempt (keep, fail, settle or adopt), and why."""
    with store.begin(write=False) as tx:
        attempt = queries.attempt(tx, execution.id, execution.attempt)
    as_job = attempt.launcher == slurm.SlurmLauncher.name
    if as_job and (job := slurm.job(attempt.run_name)) is not slurm.Job.GONE:
        return "keep", f"its Slurm job is {job}: no sweep may settle it"
    if execution.state is ExecutionState.QUEUED:
        return "fail", "its supervisor never started"
    attempt_dir = places.folder_of(store, execution).attempt(attempt.number)
    here = attempt.host == processes.host()
    if not here and not as_job:
        if settlement.exit_code(attempt_dir) is not None:
            return "settle", f"its supervisor on {attempt.host} was lost, and Nextflow has ended"
        return "keep", (f"its supervisor on {attempt.host} was lost; Nextflow may still run there: "
                        "`nfresume sweep` on that host will tell")
    if here and attempt.boot_id == processes.boot_id() and nextflow_processes.of_execution(
            execution.id, attempt_dir.parent, attempt.number):
        return "adopt", "its supervisor was lost, its Nextflow is alive"
    return "settle", "its supervisor was lost, and Nextflow is gone"


def fail_queued(store: Store, conf: Settings, execution: Execution, because: str) -> ExecutionState:
    """Settle a queued attempt as FAILED. Raises Conflict when a supervisor has claimed it."""
    owner = transitions.Owner(processes.host(), processes.boot_id())
    with store.begin() as tx:
        lease = transitions.claim(tx, execution.id, owner, conf.lease_seconds)
    folder = places.folder_of(store, execution)
    evidence = settlement.Evidence(None, RunLog(), None, lost_because=because)
    return settlement.conclude(store, conf, lease, evidence, actor(), folder)


# -- work dirs ----------------------------------------------------------------------------------


class _Sweep:
    """Carries out the lines of one plan."""

    def __init__(
        self, store: Store, conf: Settings, progress: Callable[[Execution, RemovalProgress], None],
        stop: threading.Event,
    ) -> None:
        self._store = store
        self._conf = conf
        self._progress = progress
        self._stop = stop

    def carry_out(self, line: retention.PlanLine) -> SweepLine:
        """Carry out one line of the plan. An error is in the returned line; the next sweep tries again."""
        execution, action = line.execution, line.action
        try:
            if line.action != "continue" and (held := self._mark(line)):
                return SweepLine(execution, action, line.reason, done=f"kept: {held}")
            return self._remove(line)
        except Conflict:
            return SweepLine(execution, action, line.reason, done="another process was faster")
        except (NfresumeError, OSError) as e:
            return SweepLine(execution, action, line.reason, error=str(e))

    def _mark(self, line: retention.PlanLine) -> str | None:
        """Materialise the results, then RETAINED -> DELETING. Returns why it was not done, or None."""
        execution = line.execution
        with self._store.begin(write=False) as tx:  # a relaunch after the plan was made wins
            if queries.get(tx, execution.id).work_dir.state is not WorkDirState.RETAINED:
                raise Conflict(f"{execution.id} is in use again")
        folder = places.folder_of(self._store, execution)
        if folder.attempt(execution.attempt + 1).exists():  # a person has to decide
            return "its folder has an attempt that the database does not know: is the database an old backup?"
        pace = disposal.pace_of(self._conf)
        if held := disposal.reason_to_hold(disposal.secure_results(folder, execution, pace)):
            return held
        with self._store.begin() as tx:
            if line.action == "delete":
                removals.expire(tx, execution.id, execution.attempt, actor())
            elif line.action == "evict":
                removals.evict(tx, execution.id, execution.attempt, line.reason, actor())
            else:
                removals.delete_success(tx, execution.id, execution.attempt, actor())
        crashpoints.reach("expired")
        return None

    def _remove(self, line: retention.PlanLine) -> SweepLine:
        execution = line.execution

        def done(text: str) -> SweepLine:
            with self._store.begin(write=False) as tx:
                removal = queries.get(tx, execution.id).work_dir.removal
            return SweepLine(execution, line.action, line.reason, done=text, removal=removal)

        removed = disposal.remove(
            self._store, self._conf, execution, actor(), lambda p: self._progress(execution, p), self._stop
        )
        if removed is None:
            return done("another process is removing it")
        if removed.blocked:
            return done(f"not everything could be removed: {disposal.describe_blocked(removed)}")
        if removed.stopped:
            return done(f"paused after {removed.files} files; the next sweep goes on")
        return done(f"deleted {removed.files} files, {removed.bytes} bytes on disk")


def _drain_trash(store: Store, conf: Settings, root: Root, stop: threading.Event) -> None:
    """Remove trash entries that a crash left behind after their execution was marked DELETED."""
    for execution_id in trash.entries(root):
        if execution_id == trash.TASKS or _is_deleted(store, execution_id):
            removal.empty_trash(root, execution_id, pace=disposal.pace_of(conf, stop))


def _is_deleted(store: Store, execution_id: str) -> bool:
    """True for a deleted work dir. False for an unknown execution: a person decides (`nfresume doctor`)."""
    try:
        with store.begin(write=False) as tx:
            return queries.get(tx, execution_id).work_dir.state is WorkDirState.DELETED
    except NotFound:
        return False
