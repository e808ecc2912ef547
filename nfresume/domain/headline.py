"""One sentence that says what happened to an execution, and one that says what to do. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from nfresume.domain.executions import Attempt, Execution, ExecutionState, TaskCounts
from nfresume.domain.wording import duration, plain
from nfresume.domain.workdirs import WorkDirState

#: A line of output that looks like the reason of a failure.
_TELLING = re.compile(r"error|exception|fail|not found|no such|cannot|can't|denied|killed|invalid|missing|"
                      r"unknown|out of memory|no space", re.IGNORECASE)
#: Lines that only say that something failed, or where.
_EMPTY = re.compile(r"[\W_]*|(Traceback|Execution halted|Command exited|make: ).*|at .*|File \".*")
#: Nextflow's words for an exit status, which the headline has anyway.
_STATUS_ONLY = re.compile(r"Process .* terminated with an error exit status \(\d+\)", re.DOTALL)
#: So many characters of a reason are shown.
_MOST = 160


@dataclass(frozen=True)
class FailedTask:
    """The task that stopped a run. `reason` is the telling line of its output, empty if there is none."""

    name: str
    exit: int | None
    reason: str


@dataclass(frozen=True)
class Reusable:
    """How much a relaunch finds of what has finished.

    `finished` of `total` tasks of attempt `attempt` have finished, and Nextflow's cache has lost `lost` of
    them. `known`: the cache was read, and nothing speaks against it. `refused`: why nothing can be
    resumed, empty if something can. `again`: so many run again, as a forecast says.
    """

    attempt: int
    finished: int
    total: int
    lost: int = 0
    known: bool = True
    refused: str = ""
    again: int = 0

    @property
    def text(self) -> str:
        """What that means, in one sentence without its full stop."""
        if self.refused and not self.finished:
            return "Nothing had finished: launch it again when it is mended"
        if self.refused:
            return (f"It cannot be resumed: {self.refused}. Only a relaunch that runs every task again is "
                    "possible")
        if not self.finished:
            return "Nothing had finished: a relaunch runs every task"
        left = max(0, self.finished - self.lost - self.again)
        lost = f": Nextflow's cache has lost {self.lost:,}" if self.lost else ""
        if not left:
            return f"A relaunch runs every task{lost}"
        most = "" if self.known else "at most "
        return f"Relaunch reuses {most}{left:,} of {_tasks(self.total)}{lost}"


def reason(stderr: str, stdout: str, error: str = "") -> str:
    """The line that best tells why a task failed; empty when no line does.

    `error` is what the engine says, and counts if it says more than an exit status. Otherwise it is the last
    line of the errors that tells something, or the last one that is not empty. Of plain output only a telling
    line counts.

    >>> reason("Traceback (most recent call last):\\n  File \\"x\\"\\nKeyError: 'gc'\\n", "done")
    "KeyError: 'gc'"
    """
    if telling(error):
        return _short(" ".join(error.split()))
    errors = [line.strip() for line in plain(stderr).splitlines() if not _EMPTY.fullmatch(line.strip())]
    others = [line.strip() for line in plain(stdout).splitlines() if not _EMPTY.fullmatch(line.strip())]
    for lines in (errors, others):
        for line in reversed(lines):
            if _TELLING.search(line):
                return _short(line)
    return _short(errors[-1]) if errors else ""


def telling(error: str) -> bool:
    """True if what the engine says of a failed task says more than that it failed, and its exit status."""
    return bool(error) and not _STATUS_ONLY.fullmatch(error)


def _short(text: str) -> str:
    return text if len(text) <= _MOST else f"{text[:_MOST - 3]}..."


def happened(
    attempt: Attempt, counts: TaskCounts, failed: FailedTask | None, now: datetime, *, lost: bool = False
) -> str:
    """What happened to an attempt, in one sentence without its full stop. `lost`: its host is silent."""
    took = duration(_took(attempt, now))
    if lost:
        since = f" for {duration(now - attempt.lease_until)}" if attempt.lease_until else ""
        return f"Lost: no word from {attempt.host or 'its host'}{since}, {_done(counts)} before"
    if attempt.state is ExecutionState.QUEUED:
        return f"Waiting to start for {duration(now - (attempt.created_at or now))}"
    if attempt.state is ExecutionState.CANCELLING:
        return f"Being cancelled after {took}: {_done(counts)}"
    if attempt.state is ExecutionState.RUNNING:
        return f"Running for {took}: {_done(counts)}"
    if attempt.state is ExecutionState.SUCCEEDED:
        reused = f", {counts.cached:,} of them reused" if counts.cached else ""
        ignored = f"; {_tasks(counts.ignored)} failed and counted as ignored" if counts.ignored else ""
        return f"Succeeded in {took}: {_tasks(counts.succeeded + counts.cached)}{reused}{ignored}"
    if attempt.state is ExecutionState.CANCELLED:
        return f"Cancelled after {took}: {_done(counts)}"
    if failed is None:
        return f"Failed after {took}: {_short(attempt.error or 'no reason is known')}"
    code = f" with exit status {failed.exit}" if failed.exit is not None else ""
    return f"{failed.name} failed{code}" + (f": {failed.reason}" if failed.reason else "")


def advice(e: Execution, attempt: Attempt, reusable: Reusable | None, *, lost: bool = False) -> str:
    """What to do next, in one sentence without its full stop; empty when there is nothing to do.

    `reusable` is known of a kept work dir that no attempt uses.
    """
    if attempt.number != e.attempt:
        return ""
    if e.state.live:
        return ("It goes on when its host answers; if that is gone for good, an owner can settle it" if lost
                else "")
    if e.work_dir.state is WorkDirState.RETAINED:
        if e.state is ExecutionState.SUCCEEDED:
            return ("When that is mended, look again: what would be lost is saved first" if e.work_dir.held
                    else "All is done: its work dir may be deleted")
        return reusable.text if reusable is not None else ""
    if e.state is ExecutionState.SUCCEEDED:
        return ""
    gone = "deleted" if e.work_dir.state is WorkDirState.DELETED else "being deleted"
    return f"Its work dir is {gone}: it cannot be relaunched, only launched again"


def total(counts: TaskCounts) -> int:
    """How many tasks an attempt had; a task that was tried several times counts once."""
    return max(0, counts.submitted - counts.retried) + counts.cached


def _took(attempt: Attempt, now: datetime) -> timedelta:
    return (attempt.ended_at or now) - (attempt.started_at or attempt.created_at or now)


def _done(counts: TaskCounts) -> str:
    bad = counts.failed_for_good
    failed = f", {bad:,} failed" if bad else ""
    ignored = f", {counts.ignored:,} failed and ignored" if counts.ignored else ""
    return f"{counts.succeeded + counts.cached:,} of {_tasks(total(counts))} done{failed}{ignored}"


def _tasks(number: int) -> str:
    return f"{number:,} {'task' if number == 1 else 'tasks'}"
