"""Settle an attempt: judge the evidence, store the outcome, see to the work dir."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nfresume.billing import enforcement
from nfresume.domain import retention
from nfresume.domain.executions import Attempt, Execution, ExecutionState, Lease
from nfresume.domain.workdirs import Retain
from nfresume.nextflow import failures, history
from nfresume.nextflow.command import EXIT_STATUS, STDERR, STDOUT
from nfresume.nextflow.log import RunLog
from nfresume.retained import disposal
from nfresume.settings import Settings
from nfresume.storage.publish import Materialised
from nfresume.storage.root import NO_SPACE, ExecutionFolder, out_of_space
from nfresume.storage.workers import Pace
from nfresume.store import Store, Tx, queries, transitions
from nfresume.system import crashpoints, processes

#: How Nextflow begins an error message on standard output.
_ERROR = "ERROR ~ "


@dataclass(frozen=True)
class Evidence:
    """Everything known about how an attempt ended.

    `exit_code`: the head's exit status, negative for a signal, None when the shim wrote none. `history`: the
    run's status in Nextflow's history file. `survivors`: how many of its processes could not be stopped.
    """

    exit_code: int | None
    log: RunLog
    history: str | None
    survivors: int = 0
    said: tuple[str, ...] = ()  # last lines: errors on standard output, then standard error
    no_space: str | None = None  # what ran out: space, inodes or a quota
    lost_because: str = "Nextflow was lost"
    hung: bool = False  # the head reported an error, did not end, and was terminated
    helps: str | None = None  # what helps against the error, if that is known
    here: bool = False  # it ran on this host, so `survivors` counts all its processes


@dataclass(frozen=True)
class Verdict:
    """The outcome of an attempt. `clean_end`: no task can be running or half done any more. `held`: why the
    work dir must be kept whatever the policy says."""

    state: ExecutionState
    error: str | None
    clean_end: bool
    held: str | None = None


def judge(evidence: Evidence) -> Verdict:
    """Success needs exit status 0, OK in Nextflow's history, a complete log, and everything published.

    Source: ARCHITECTURE.md, rule 2.
    """
    code, log = evidence.exit_code, evidence.log
    clean = code is not None and code >= 0 and (log.completed or not log.unfinished)
    if evidence.survivors:
        reason = f"{evidence.survivors} of its processes could not be stopped"
        return Verdict(ExecutionState.FAILED, reason, False, reason)
    if evidence.hung:
        reason = f"Nextflow hung after {_failure(evidence)}"
        return Verdict(ExecutionState.FAILED, reason, clean and code != 0)
    if code is None:
        return Verdict(ExecutionState.FAILED, evidence.no_space or evidence.lost_because, False)
    if code != 0:
        return Verdict(ExecutionState.FAILED, _failure(evidence), clean)
    if log.publish_warnings:
        reason = f"results were not published: {log.publish_warnings[0]}"
        return Verdict(ExecutionState.FAILED, reason, clean, reason)
    if evidence.history != "OK":
        reason = "Nextflow exited with status 0 before its workflow ended (`exit 0` in the script?)"
        return Verdict(ExecutionState.FAILED, reason, clean, reason)
    if not log.whole:
        reason = "its log is incomplete (was its disk full?): some published results may be unknown"
        return Verdict(ExecutionState.FAILED, reason, clean, reason)
    return Verdict(ExecutionState.SUCCEEDED, None, clean)


def _failure(evidence: Evidence) -> str:
    code, log = evidence.exit_code, evidence.log
    if evidence.no_space:
        return evidence.no_space
    if log.lock_conflict:
        return "BUSY: another Nextflow holds this session's cache; nothing was run"
    if code is not None and code < 0 and not evidence.hung:
        return f"Nextflow was killed by {signal.Signals(-code).name}"
    lines = failures.words(log.error)
    for line in lines:
        if line.startswith("Process `"):
            return line
    if lines:
        return f"{lines[0]} ({evidence.helps})" if evidence.helps else lines[0]
    return evidence.said[-1] if evidence.said else f"Nextflow ended with exit status {code}"


def gather(
    attempt: Attempt, folder: ExecutionFolder, log: RunLog, survivors: int,
    lost_because: str, launch_dir: Path, *, hung: bool = False,
) -> Evidence:
    """Collect the evidence from an attempt's records."""
    attempt_dir = folder.attempt(attempt.number)
    said = [line.removeprefix(_ERROR) for line in _tail(attempt_dir / STDOUT) if line.startswith(_ERROR)]
    said += _tail(attempt_dir / STDERR)
    return Evidence(
        exit_code=exit_code(attempt_dir), log=log, history=history.status(folder.cache, attempt.run_name),
        survivors=survivors, said=tuple(said),
        no_space=out_of_space(folder.root.path) or _said_no_space([*log.error, *said]),
        lost_because=lost_because, hung=hung, here=attempt.host == processes.host(),
        helps=failures.helps(log.error, attempt.nextflow_version, launch_dir),
    )


def _said_no_space(said: Iterable[str]) -> str | None:
    """An error message about a full disk or quota: statvfs may not show it, or no longer."""
    causes = [os.strerror(code) for code in NO_SPACE]
    found = [line.strip() for line in said if any(cause in line for cause in causes)]
    return f"no space left: {found[0].removeprefix('Caused by: ')}" if found else None


def exit_code(attempt_dir: Path) -> int | None:
    """The head's exit status as the shim wrote it, negative for a signal; None when there is none yet."""
    try:
        return int(json.loads((attempt_dir / EXIT_STATUS).read_bytes())["exit_code"])
    except (FileNotFoundError, ValueError, KeyError):
        return None


def _tail(path: Path, size: int = 4096) -> list[str]:
    """The non-empty lines in the last `size` bytes of a file."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - size))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return []
    return [line.strip() for line in lines if line.strip()]


def conclude(
    store: Store, conf: Settings, lease: Lease, evidence: Evidence, actor: str, folder: ExecutionFolder,
    heartbeat: Callable[[], None] = lambda: None,
) -> ExecutionState:
    """Settle an attempt and its work dir. Raises StaleLease when another supervisor owns it.

    First results are materialised, or task dirs slimmed; then one transaction changes execution and work dir.
    The caller removes or measures the work dir afterwards. After a crash the next sweep does the rest.
    `heartbeat` is called several times a second, to renew the lease.
    """
    verdict = judge(evidence)
    with store.begin(write=False) as tx:
        execution = queries.get(tx, lease.execution_id)
        decision = _decide(execution, verdict, tx)
    held = verdict.held
    notes: dict[str, dict[str, Any]] = {}
    pace = disposal.pace_of(conf)
    if decision.keep and execution.retain is Retain.SLIM and verdict.state is not ExecutionState.SUCCEEDED:
        reason = _must_not_slim(execution, verdict, evidence)
        notes["slimmed"] = {"left_alone": reason} if reason else _slim(
            folder, lease.number, pace, heartbeat)
    refused = None
    never_retained = lease.number == 1  # a work dir that was retained before stays so, whatever the budget
    if never_retained and decision.expires_at is not None and enforcement.refuses(conf):
        disposal.record_size(store, conf, execution, progress=lambda _: heartbeat())
        refused = enforcement.refusal(store, conf, execution)
    if not decision.keep or refused:
        results = disposal.secure_results(folder, execution, pace, heartbeat)
        held = disposal.reason_to_hold(results)
        notes["results_made_real"] = _counts(results)
    with store.begin() as tx:
        execution = queries.get(tx, lease.execution_id)
        decision = _decide(execution, verdict, tx, held, refused)
        outcome = transitions.Outcome(
            state=verdict.state, exit_code=evidence.exit_code,
            error="cancelled" if _cancelled(execution, verdict) else verdict.error,
            clean_end=verdict.clean_end, keep=decision.keep, reason=decision.reason,
            expires_at=decision.expires_at,
            notice_at=retention.notice_at(tx.now, decision.expires_at, conf.notify_before_expiry),
        )
        state = transitions.settle(tx, lease, outcome, evidence.log.counts, actor)
        for name, numbers in notes.items():
            if any(numbers.values()):
                transitions.note(tx, lease.execution_id, name, actor, numbers)
    crashpoints.reach("settled")
    return state


def _counts(results: Materialised) -> dict[str, int]:
    return {**{how: results.count(how) for how in ("linked", "copied", "redirected")},
            "refused": len(results.refused)}


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


def _must_not_slim(execution: Execution, verdict: Verdict, evidence: Evidence) -> str | None:
    """Why a failed work dir must not be slimmed; None when it may.

    Only a clean end on this host makes it certain which tasks failed, and that nothing writes there any more.
    """
    if execution.work_dir.pinned:
        return "it is pinned"
    if verdict.held:
        return "it is held"
    if not verdict.clean_end or evidence.survivors:
        return "Nextflow did not end in good order"
    return None if evidence.here else "it ran on another host"


def _cancelled(execution: Execution, verdict: Verdict) -> bool:
    return (execution.state is ExecutionState.CANCELLING
            and verdict.state is not ExecutionState.SUCCEEDED)


def _decide(
    execution: Execution, verdict: Verdict, tx: Tx, held: str | None = None, refused: str | None = None
) -> retention.Decision:
    state = ExecutionState.CANCELLED if _cancelled(execution, verdict) else verdict.state
    return retention.after_attempt(
        state, execution.storage_expiration_hours, pinned=execution.work_dir.pinned,
        held=held or verdict.held, now=tx.now, on_success=execution.on_success, refused=refused,
    )
