"""Settle an attempt: its results first, then one transaction for execution and work dir."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from nfresume.billing import enforcement
from nfresume.domain import retention
from nfresume.domain.errors import Conflict
from nfresume.domain.executions import Execution, ExecutionState, Lease, python_workflow
from nfresume.domain.retention import Hold
from nfresume.domain.workdirs import Claim, OnSuccess, Retain
from nfresume.launchers.slurm import SlurmLauncher
from nfresume.retained import additions, deletion, disposal, securing
from nfresume.runs import cache_check, explaining, lean, lean_watch
from nfresume.runs.lean_needs import Needs
from nfresume.runs.verdict import Evidence, Verdict, judge
from nfresume.settings import Settings
from nfresume.storage.root import ExecutionFolder
from nfresume.storage.workers import Pace
from nfresume.store import Store, Tx, guarded, queries, transitions
from nfresume.system import crashpoints

#: An attempt that emptied files have stopped is kept at least so long, so that it can go on.
_HOURS_TO_GO_ON = 1.0


@dataclass(frozen=True)
class Concluded:
    """How an attempt was settled. `claim` is on a work dir that is to be deleted. `goes_on`: a new attempt is
    stored, which the same supervisor runs."""

    state: ExecutionState
    claim: Claim | None
    goes_on: bool = False


def conclude(
    store: Store, conf: Settings, lease: Lease, evidence: Evidence, actor: str, folder: ExecutionFolder,
    heartbeat: Callable[[], None] = lambda: None, hours_unknown: Hold | None = None,
    needs: Needs | None = None,
) -> Concluded:
    """Settle an attempt and its work dir. Raises StaleLease when another supervisor owns it.

    First results are secured, then task dirs slimmed; then one transaction decides about execution and work
    dir. After a crash the next sweep does the rest.
    `heartbeat` is called several times a second; what it raises (StaleLease) ends the work. `hours_unknown`
    is why a failure must not be deleted although it is kept for no hour. `needs` are emptied files that the
    attempt needed: it has failed, and a new attempt is stored in the same transaction.
    """
    verdict = _without_needs(judge(evidence), needs)
    with store.begin(write=False) as tx:
        execution = queries.get(tx, lease.execution_id)
    secured, notes = _prepare(folder, conf, execution, lease.number, verdict, evidence, heartbeat, needs)
    refused = _refused(store, conf, execution, heartbeat)
    heartbeat()
    with store.begin() as tx:
        execution = queries.get(tx, lease.execution_id)
        decision = _decide(execution, verdict, tx, secured.hold, refused, hours_unknown, needs)
        until = decision.keep.until if decision.keep is not None else None
        outcome = transitions.Outcome(
            state=verdict.state, exit_code=evidence.exit_code,
            error="cancelled" if _cancelled(execution, verdict) else verdict.error,
            clean_end=verdict.clean_end, decision=decision, secured=secured.results.complete,
            notice_at=retention.notice_at(tx.now, until, conf.notify_before_expiry),
        )
        slurm = queries.attempt(tx, execution.id, execution.attempt).launcher == SlurmLauncher.name
        again = _to_make_again(folder, execution, verdict, decision, needs, slurm=slurm)
        state, claim = transitions.settle(tx, lease, outcome, evidence.log.counts, actor,
                                          deletion.claimant(), goes_on=bool(again))
        for name, told in notes.items():
            if any(told.values()):
                guarded.note(tx, lease.execution_id, name, actor, told)
        goes_on = bool(again) and state is ExecutionState.FAILED  # it was not cancelled in the meantime
        if goes_on:
            guarded.note(tx, lease.execution_id, "goes_on", actor, again)
            _go_on(tx, execution, actor)
    crashpoints.reach("settled")
    return Concluded(state, claim, goes_on)


def _prepare(
    folder: ExecutionFolder, conf: Settings, execution: Execution, number: int, verdict: Verdict,
    evidence: Evidence, heartbeat: Callable[[], None], needs: Needs | None,
) -> tuple[securing.Secured, dict[str, dict[str, Any]]]:
    """Secure the results, slim and empty task dirs; returns what was secured, and notes for the history."""
    pace = disposal.pace_of(conf)
    notes: dict[str, dict[str, Any]] = {}
    secured = securing.secure(folder, execution, pace, heartbeat=heartbeat, deleting=False,
                              succeeded=verdict.state is ExecutionState.SUCCEEDED)
    additions.put_back(folder.attempt(number))
    reason = _must_not_slim(execution, verdict, evidence) if _is_slimmed(execution, verdict) else None
    if _is_slimmed(execution, verdict):
        left = reason or ("a result cannot be made independent of it" if secured.hold else None)
        notes["slimmed"] = {"left_alone": left} if left else _slim(folder, number, pace, heartbeat)
    notes["results_secured"] = secured.note
    explaining.keep(folder, execution.session_id, number, heartbeat)
    if _is_slimmed(execution, verdict) and execution.retain is Retain.LEAN and not needs:
        notes["emptied"] = {"left_alone": reason} if reason else _empty(
            folder, execution, number, conf, heartbeat, secured.results.left_ends)
    if _is_resumed(execution, verdict):
        notes["cache_lost"] = cache_check.lost(folder, execution.session_id, number, heartbeat)
    return secured, notes


def _without_needs(verdict: Verdict, needs: Needs | None) -> Verdict:
    """An attempt that needed an emptied file has failed. One that may have got zeros is held, too."""
    if not needs:
        return verdict
    error = lean_watch.failure_of(needs)
    doubt = Hold(error, passing=False) if needs.got else verdict.doubt
    return Verdict(ExecutionState.FAILED, error, verdict.clean_end, doubt)


def _to_make_again(
    folder: ExecutionFolder, execution: Execution, verdict: Verdict, decision: retention.Decision,
    needs: Needs | None, *, slurm: bool,
) -> dict[str, Any]:
    """What a new attempt makes again at once; empty when this is the end, as for a held work dir."""
    if not needs or decision.keep is None or verdict.doubt or execution.state is not ExecutionState.RUNNING:
        return {}
    if slurm:  # the job of its supervisor has the name of this attempt, and ends with it
        return {}
    try:
        return lean_watch.to_make_again(folder, execution.attempt, needs)
    except Conflict:
        return {}  # its next attempt says what is wrong


def _go_on(tx: Tx, execution: Execution, actor: str) -> None:
    """Store the attempt that goes on where this one had to end. Its supervisor is this process."""
    last = queries.attempt(tx, execution.id, execution.attempt)
    again = transitions.NewAttempt(last.pipeline, last.options, True, last.nextflow, last.nextflow_version,
                                   last.launcher)
    transitions.relaunch(tx, execution.id, execution.attempt + 1, again, actor, execution.work_dir.path)


def _refused(
    store: Store, conf: Settings, execution: Execution, heartbeat: Callable[[], None]
) -> str | None:
    """Why a budget does not allow to keep the work dir. One that was kept before stays kept."""
    if execution.attempt > 1 or not enforcement.refuses(conf):
        return None
    disposal.record_size(store, conf, execution, progress=lambda _: heartbeat())
    return enforcement.refusal(store, conf, execution)


def _is_resumed(execution: Execution, verdict: Verdict) -> bool:
    """True when a later attempt may need Nextflow's cache."""
    kept = verdict.state is not ExecutionState.SUCCEEDED or execution.work_dir.pinned
    return (kept or execution.on_success is OnSuccess.KEEP) and python_workflow(execution.pipeline) is None


def _is_slimmed(execution: Execution, verdict: Verdict) -> bool:
    """True for a failure that is kept slim; one that is kept for no hour is deleted, or held whole."""
    failed = verdict.state is not ExecutionState.SUCCEEDED
    return failed and execution.retain.slims and execution.storage_expiration_hours > 0


def _slim(
    folder: ExecutionFolder, attempts: int, pace: Pace, heartbeat: Callable[[], None]
) -> dict[str, int]:
    """Slim a work dir. An error is counted, not raised: it must not stop the settlement."""
    try:
        slimmed = disposal.slim_down(folder, attempts, pace, heartbeat)
    except OSError:
        return {"blocked": 1}
    return {"files": slimmed.files, "directories": slimmed.directories, "bytes": slimmed.bytes,
            "blocked": slimmed.blocked_count}


def _empty(
    folder: ExecutionFolder, execution: Execution, attempts: int, conf: Settings,
    heartbeat: Callable[[], None], left_ends: Collection[str],
) -> dict[str, Any]:
    """Empty intermediate files. What goes wrong is told, not raised: it must not stop the settlement."""
    try:
        return lean.empty(folder, execution, attempts, conf.lean_min_size, heartbeat, left_ends,
                          disposal.pace_of(conf).readers(folder.work))
    except Conflict as e:
        return {"left_alone": e.message}
    except (OSError, ValueError) as e:
        return {"left_alone": f"it could not be done: {e}"}


def _must_not_slim(execution: Execution, verdict: Verdict, evidence: Evidence) -> str | None:
    """Why a failed work dir must not be slimmed; None when it may.

    Only a clean end on this host makes it certain which tasks failed, and that nothing writes there any more.
    """
    if execution.work_dir.pinned:
        return "it is pinned"
    if verdict.doubt or execution.work_dir.held:
        return "it is held"
    if not verdict.clean_end or evidence.survivors:
        return "Nextflow did not end in good order"
    return None if evidence.here else "it ran on another host"


def _cancelled(execution: Execution, verdict: Verdict) -> bool:
    return (execution.state is ExecutionState.CANCELLING
            and verdict.state is not ExecutionState.SUCCEEDED)


def _decide(
    execution: Execution, verdict: Verdict, tx: Tx, unsafe: Hold | None, refused: str | None,
    hours_unknown: Hold | None, needs: Needs | None,
) -> retention.Decision:
    """What becomes of the work dir. If emptied files have stopped the attempt, it is kept for the next one,
    whatever hours and budgets say: nfresume stopped it, and not the pipeline."""
    state = ExecutionState.CANCELLED if _cancelled(execution, verdict) else verdict.state
    lost = unsafe if unsafe is not None and not unsafe.passing else None  # a later look would not see it
    if state is not ExecutionState.SUCCEEDED:
        unsafe = unsafe or hours_unknown
    hours = execution.storage_expiration_hours
    if needs and state is ExecutionState.FAILED:
        hours, refused = max(hours, _HOURS_TO_GO_ON), None
    return retention.after_attempt(
        state, hours, keep=execution.work_dir.keep, doubt=verdict.doubt or lost,
        unsafe=unsafe, now=tx.now, on_success=execution.on_success, refused=refused,
    )
