"""Lost attempts: their supervisor does not renew its lease. They are settled, or a new supervisor follows."""

from __future__ import annotations

import contextlib
import threading

from nfresume.domain.errors import Conflict, StaleLease
from nfresume.domain.executions import Execution, ExecutionState, run_name
from nfresume.launchers import LocalLauncher, slurm
from nfresume.nextflow import processes as nextflow_processes
from nfresume.nextflow.summary import Summary
from nfresume.retained import deletion, disposal, places
from nfresume.runs import settlement, supervision, verdict
from nfresume.settings import Settings
from nfresume.store import Store, queries, transitions
from nfresume.system import processes


def find(store: Store, conf: Settings) -> list[Execution]:
    """Executions whose lease ran out, or that no supervisor has claimed in time."""
    with store.begin(write=False) as tx:
        return queries.lost(tx, conf.lease_seconds)


def settle_if_lost(store: Store, conf: Settings, execution_id: str) -> None:
    """Settle one execution if its supervisor is lost, as a sweep does; otherwise do nothing.

    Another one may be faster, such as its supervisor on a host with too much to do, which claims it late.
    """
    for execution in find(store, conf):
        if execution.id == execution_id:
            action, reason = diagnose(store, conf, execution)
            with contextlib.suppress(Conflict, StaleLease):
                reconcile(store, conf, execution, action, reason)


def diagnose(
    store: Store, conf: Settings, execution: Execution, *, host_is_gone: bool = False
) -> tuple[str, str]:
    """What to do with a lost attempt (keep, fail, settle or adopt), and why.

    `host_is_gone`: a person said that the host on which it ran will never come back.
    """
    with store.begin(write=False) as tx:
        attempt = queries.attempt(tx, execution.id, execution.attempt)
    as_job = attempt.launcher == slurm.SlurmLauncher.name
    if as_job and (job := slurm.job(attempt.run_name)) is not slurm.Job.GONE:
        return "keep", f"its Slurm job is {job}: nobody else may touch it"
    if execution.state is ExecutionState.QUEUED:
        return "fail", "its supervisor never started"
    folder = places.folder_of(store, execution)
    if (others := places.of_others(folder.path)) is not None:
        return "keep", others
    attempt_dir = folder.attempt(attempt.number)
    here = verdict.ran_here(attempt, conf)
    if not here and not as_job:
        if verdict.exit_code(attempt_dir) is not None:
            return "settle", f"its supervisor on {attempt.host} was lost, and Nextflow has ended"
        if host_is_gone:
            return "settle", f"its host {attempt.host} is gone"
        return "keep", (f"its supervisor on {attempt.host} was lost; Nextflow may still run there: "
                        f"`nfresume sweep` on that host will tell. If that host never comes back: "
                        f"`nfresume settle {execution.id} --host-is-gone`")
    if nextflow_processes.of_another_user(attempt_dir.parent, attempt.number):
        return "keep", "its processes are of another user, whose sweep will tell whether they are at work"
    if here and attempt.boot_id == processes.boot_id() and nextflow_processes.of_execution(
            execution.id, attempt_dir.parent, attempt.number):
        return "adopt", "its supervisor was lost, its Nextflow is alive"
    return "settle", "its supervisor was lost, and Nextflow is gone"


def reconcile(
    store: Store, conf: Settings, execution: Execution, action: str, reason: str,
    stop: threading.Event | None = None,
) -> str:
    """Do what `diagnose` said; returns what was done. Raises Conflict or StaleLease: another was faster."""
    if action == "keep":
        return ""
    if action == "adopt":
        _start_supervisor(store, conf, execution, execution.attempt)
        return "a new supervisor follows it"
    if action == "fail":
        return f"settled as {fail_queued(store, conf, execution, reason, stop)}"
    state = supervision.supervise(store, conf, execution.id, stop, lost_because=reason, once=True)
    if state is ExecutionState.QUEUED:  # Nextflow is not for this process, which may end soon
        _start_supervisor(store, conf, execution, execution.attempt + 1)
        return "settled; a new supervisor goes on with it"
    return f"settled as {state}"


def _start_supervisor(store: Store, conf: Settings, execution: Execution, number: int) -> None:
    log = places.folder_of(store, execution).attempt(number) / "supervisor.log"
    LocalLauncher(conf.for_account(execution.account)).start(
        execution.id, run_name(execution.id, number), log)


def fail_queued(
    store: Store, conf: Settings, execution: Execution, because: str, stop: threading.Event | None = None
) -> ExecutionState:
    """Settle a queued attempt as FAILED. Raises Conflict when a supervisor has claimed it."""
    owner = transitions.Owner(conf.host, processes.boot_id())
    actor = f"sweeper@{processes.signature()}"
    with store.begin() as tx:
        lease = transitions.claim(tx, execution.id, owner, conf.lease_seconds)
    folder = places.folder_of(store, execution)
    evidence = verdict.Evidence(None, Summary(), None, lost_because=because)
    done = settlement.conclude(store, conf, lease, evidence, actor, folder)
    if done.claim is not None:
        deletion.delete(store, done.claim, actor, disposal.pace_of(conf, stop))
    return done.state


def settle_by_hand(store: Store, conf: Settings, execution: Execution, actor: str) -> str:
    """Settle an attempt whose host, a person said, is gone. Raises Conflict when it is not lost."""
    if execution.id not in [e.id for e in find(store, conf)]:
        raise Conflict(f"{execution.id} is not lost: its supervisor renews its lease",
                       f"`nfresume cancel {execution.id}` stops it")
    action, reason = diagnose(store, conf, execution, host_is_gone=True)
    if action == "keep":
        raise Conflict(f"{execution.id}: {reason}")
    with store.begin() as tx:
        transitions.forget_host(tx, execution.id, actor)
    return reconcile(store, conf, execution, action, reason)
