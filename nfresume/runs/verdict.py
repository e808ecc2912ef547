"""How an attempt ended: collect the evidence, judge it."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nfresume.domain.executions import Attempt, ExecutionState
from nfresume.domain.retention import Hold
from nfresume.nextflow import failures, history
from nfresume.nextflow.command import EXIT_STATUS, STDERR, STDOUT
from nfresume.nextflow.summary import Summary
from nfresume.runs import taskdirs
from nfresume.settings import Settings
from nfresume.storage.root import NO_SPACE, ExecutionFolder, out_of_space
from nfresume.system import processes, regular

#: What Nextflow says of an abort when a signal has stopped it.
_SIGNALS = frozenset(signal.Signals.__members__)
#: How Nextflow begins an error message on standard output.
_ERROR = "ERROR ~ "


@dataclass(frozen=True)
class Evidence:
    """Everything known about how an attempt ended. `log` is the sum of its record.

    `exit_code`: the head's exit status, negative for a signal, None when the shim wrote none. `history`: the
    run's status in Nextflow's history file. `survivors`: how many of its processes could not be stopped.
    """

    exit_code: int | None
    log: Summary
    history: str | None
    survivors: int = 0
    said: tuple[str, ...] = ()  # last lines: errors on standard output, then standard error
    compile_error: str | None = None  # where the strict parser found it: that is only on standard output
    no_space: str | None = None  # what ran out: space, inodes or a quota
    lost_because: str = "Nextflow was lost"
    hung: bool = False  # the head reported an error, did not end, and was terminated
    helps: str | None = None  # what helps against the error, if that is known
    nothing_ran: bool = False  # the work dir has no task dir
    here: bool = False  # it ran on this host, so `survivors` counts all its processes


@dataclass(frozen=True)
class Verdict:
    """The outcome of an attempt. `clean_end`: no task can be running or half done any more. `doubt`: why the
    work dir must be kept whatever the policy says."""

    state: ExecutionState
    error: str | None
    clean_end: bool
    doubt: Hold | None = None


def judge(evidence: Evidence) -> Verdict:
    """Success needs exit status 0, OK in Nextflow's history, a complete log, and everything published.

    Source: ARCHITECTURE.md, rule 2.
    """
    code, log = evidence.exit_code, evidence.log
    clean = code is not None and code >= 0 and (log.completed or not log.unfinished)
    if evidence.survivors:
        reason = f"{evidence.survivors} of its processes could not be stopped"
        return Verdict(ExecutionState.FAILED, reason, False, Hold(reason))
    if evidence.hung:
        reason = f"Nextflow hung after {_failure(evidence)}"
        return Verdict(ExecutionState.FAILED, reason, clean and code != 0)
    if code is None:
        return Verdict(ExecutionState.FAILED, evidence.no_space or evidence.lost_because, False)
    if code != 0:
        return Verdict(ExecutionState.FAILED, _failure(evidence), clean)
    if log.unpublished:
        reason = f"results were not published: {log.unpublished[0]}"
        return Verdict(ExecutionState.FAILED, reason, clean, Hold(reason, passing=False))
    if evidence.history != "OK" and evidence.nothing_ran:
        return Verdict(ExecutionState.SUCCEEDED, None, clean)  # `--help` that ends in `exit 0`: nothing ran
    if evidence.history != "OK":
        reason = "Nextflow exited with status 0 before its workflow ended (`exit 0` in the script?)"
        return Verdict(ExecutionState.FAILED, reason, clean, Hold(reason, passing=False))
    if not log.whole:
        reason = "its log is incomplete (was its disk full?): some published results may be unknown"
        return Verdict(ExecutionState.FAILED, reason, clean, Hold(reason, passing=False))
    return Verdict(ExecutionState.SUCCEEDED, None, clean)


def _failure(evidence: Evidence) -> str:
    code, log = evidence.exit_code, evidence.log
    if evidence.no_space:
        return evidence.no_space
    if log.lock_conflict:
        return "BUSY: another Nextflow holds this session's cache; nothing was run"
    if code is not None and code < 0 and not evidence.hung:
        return f"Nextflow was killed by {signal.Signals(-code).name}"
    if log.error in _SIGNALS:
        return f"Nextflow was stopped by {log.error}"
    if error := evidence.compile_error or log.error:
        return f"{error} ({evidence.helps})" if evidence.helps else error
    if code == 1 and log.completed and (ignored := log.counts.ignored):
        return f"failures were ignored ({ignored}), and workflow.failOnIgnore makes that an error"
    return _telling(evidence.said) or f"Nextflow ended with exit status {code}"


def _telling(said: Sequence[str]) -> str:
    """The line that names a cause, or the last one with words: a parser's last line is only a marker."""
    causes = (line for line in said if re.search(r"\bCause(d by)?: ", line))
    return next(causes, next((line for line in reversed(said) if re.search(r"\w{3}", line)), ""))


def ran_here(attempt: Attempt, conf: Settings) -> bool:
    """True when an attempt ran on this host, so that its processes would be seen here.

    A container that was replaced has another name; the boot tells that the machine is the same.
    """
    same_machine = attempt.boot_id == processes.boot_id() and processes.sees_all()
    return attempt.host == conf.host or same_machine


def gather(
    attempt: Attempt, folder: ExecutionFolder, log: Summary, survivors: int,
    lost_because: str, launch_dir: Path, *, here: bool, hung: bool = False,
) -> Evidence:
    """Collect the evidence from an attempt's records."""
    attempt_dir = folder.attempt(attempt.number)
    printed = _tail(attempt_dir / STDOUT)
    said = [line.removeprefix(_ERROR) for line in printed if line.startswith(_ERROR)]
    said += _tail(attempt_dir / STDERR)
    compile_error = failures.compiled(printed) if log.error == failures.NOT_COMPILED else None
    return Evidence(
        exit_code=exit_code(attempt_dir), log=log, history=history.status(folder.cache, attempt.run_name),
        survivors=survivors, said=tuple(said),
        no_space=out_of_space(folder.root.path) or _said_no_space([*log.report, *said]),
        lost_because=lost_because, hung=hung, nothing_ran=taskdirs.none_in(folder.work),
        compile_error=compile_error,
        helps=failures.helps(compile_error or log.error, attempt.nextflow_version, launch_dir), here=here,
    )


def _said_no_space(said: Iterable[str]) -> str | None:
    """An error message about a full disk or quota: statvfs may not show it, or no longer."""
    causes = [os.strerror(code) for code in NO_SPACE]
    found = [line.strip() for line in said if any(cause in line for cause in causes)]
    return f"no space left: {found[0].removeprefix('Caused by: ')}" if found else None


def exit_code(attempt_dir: Path) -> int | None:
    """The head's exit status as the shim wrote it, negative for a signal; None when there is none yet."""
    try:
        return int(regular.document(attempt_dir / EXIT_STATUS)["exit_code"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _tail(path: Path, size: int = 4096) -> list[str]:
    """The non-empty lines in the last `size` bytes of a file."""
    try:
        with open(path, "rb", opener=regular.opener) as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - size))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except (FileNotFoundError, ValueError):
        return []
    return [line.strip() for line in lines if line.strip()]
