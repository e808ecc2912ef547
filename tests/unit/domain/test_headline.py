"""The sentence that says what happened, and the one that says what to do."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from nfresume.domain import headline
from nfresume.domain.executions import Attempt, Execution, ExecutionState, TaskCounts
from nfresume.domain.headline import FailedTask, Reusable
from nfresume.domain.workdirs import Keep, KeepKind, WorkDir, WorkDirState

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
COUNTS = TaskCounts(submitted=5, cached=3, succeeded=4, failed=2, retried=1)


def attempt(state: ExecutionState, **more: object) -> Attempt:
    made = Attempt("run-1", 1, "run-1-1", state, (), "main.nf", None, None, COUNTS,
                   created_at=NOW - timedelta(minutes=6), started_at=NOW - timedelta(minutes=5))
    return replace(made, **more)


def execution(state: ExecutionState, work_dir: WorkDirState) -> Execution:
    return Execution("run-1", "team", "main.nf", "/here", "r", "s", state, 1, 5.0, "test", NOW, NOW,
                     WorkDir("/w", work_dir))


@pytest.mark.parametrize(("state", "more", "text"), [
    (ExecutionState.QUEUED, {}, "Waiting to start for 6 min"),
    (ExecutionState.RUNNING, {}, "Running for 5 min: 7 of 7 tasks done, 1 failed"),
    (ExecutionState.CANCELLING, {}, "Being cancelled after 5 min: 7 of 7 tasks done, 1 failed"),
    (ExecutionState.SUCCEEDED, {"ended_at": NOW - timedelta(minutes=4)},
     "Succeeded in 1 min: 7 tasks, 3 of them reused"),
    (ExecutionState.CANCELLED, {}, "Cancelled after 5 min: 7 of 7 tasks done, 1 failed"),
    (ExecutionState.FAILED, {"error": "no such pipeline"}, "Failed after 5 min: no such pipeline"),
    (ExecutionState.FAILED, {}, "Failed after 5 min: no reason is known"),
])
def test_every_state_has_a_sentence(state, more, text):
    """Each state is told with its time and its counts."""
    assert headline.happened(attempt(state, **more), COUNTS, None, NOW) == text


def test_a_failure_names_its_task():
    """A failure is told by its task, the exit status and the reason, as far as these are known."""
    failed = attempt(ExecutionState.FAILED)
    assert headline.happened(failed, COUNTS, FailedTask("REPORT", 1, "no column"), NOW) == (
        "REPORT failed with exit status 1: no column")
    assert headline.happened(failed, COUNTS, FailedTask("REPORT", None, ""), NOW) == "REPORT failed"


@pytest.mark.parametrize(("state", "work_dir", "text"), [
    (ExecutionState.FAILED, WorkDirState.RETAINED, "Relaunch reuses 7 of 7 tasks"),
    (ExecutionState.SUCCEEDED, WorkDirState.RETAINED, "All is done: its work dir may be deleted"),
    (ExecutionState.SUCCEEDED, WorkDirState.DELETED, ""),
    (ExecutionState.RUNNING, WorkDirState.ACTIVE, ""),
    (ExecutionState.FAILED, WorkDirState.DELETED,
     "Its work dir is deleted: it cannot be relaunched, only launched again"),
    (ExecutionState.FAILED, WorkDirState.DELETING,
     "Its work dir is being deleted: it cannot be relaunched, only launched again"),
])
def test_what_to_do(state, work_dir, text):
    """Each end has its advice."""
    assert headline.advice(execution(state, work_dir), attempt(state), Reusable(1, 7, 7)) == text


def test_ignored_failures_of_a_success_are_told():
    """A success in which tasks failed and were ignored says so."""
    counts = TaskCounts(submitted=7, succeeded=5, failed=2, ignored=2)
    said = headline.happened(attempt(ExecutionState.SUCCEEDED), counts, None, NOW)
    assert said == "Succeeded in 5 min: 5 tasks; 2 tasks failed and counted as ignored"


def test_a_success_that_is_held_is_not_to_be_deleted():
    """Deleting its work dir would lose results: nobody is told that it may be deleted."""
    e = execution(ExecutionState.SUCCEEDED, WorkDirState.RETAINED)
    held = replace(e, work_dir=replace(e.work_dir, keep=Keep(KeepKind.HELD, "a result is missing")))
    said = headline.advice(held, attempt(ExecutionState.SUCCEEDED), None)
    assert "may be deleted" not in said
    assert "saved first" in said


def test_a_lost_host_is_not_said_to_run():
    """An attempt of which nobody hears is lost, and the headline says what an owner can do."""
    gone = attempt(ExecutionState.RUNNING, host="node7", lease_until=NOW - timedelta(hours=2))
    assert headline.happened(gone, COUNTS, None, NOW, lost=True) == (
        "Lost: no word from node7 for 2 h, 7 of 7 tasks done, 1 failed before")
    running = execution(ExecutionState.RUNNING, WorkDirState.ACTIVE)
    assert "an owner can settle it" in headline.advice(running, gone, None, lost=True)


def test_colours_are_no_reason():
    """What colours a terminal is not told, and a line that only ends a colour is not the reason."""
    assert headline.reason("\x1b[31;1mdisk quota\x1b[0m\n\x1b[0m\n", "") == "disk quota"
    assert headline.reason("10%\r20%\rError: no reads\r30%\r", "") == "Error: no reads"


@pytest.mark.parametrize(("reusable", "text"), [
    (Reusable(1, 0, 1), "Nothing had finished: a relaunch runs every task"),
    (Reusable(1, 0, 0, refused="its cache is gone"),
     "Nothing had finished: launch it again when it is mended"),
    (Reusable(1, 7, 8, refused="its cache is gone"),
     "It cannot be resumed: its cache is gone. Only a relaunch that runs every task again is possible"),
    (Reusable(1, 7, 8, 4), "Relaunch reuses 3 of 8 tasks: Nextflow's cache has lost 4"),
    (Reusable(1, 7, 8, 7), "A relaunch runs every task: Nextflow's cache has lost 7"),
    (Reusable(1, 7, 8, again=7), "A relaunch runs every task"),
    (Reusable(1, 7, 8, again=2), "Relaunch reuses 5 of 8 tasks"),
    (Reusable(1, 7, 8, known=False), "Relaunch reuses at most 7 of 8 tasks"),
])
def test_how_much_is_reused(reusable, text):
    """What the cache has is told, and what it has not; an earlier attempt has no advice."""
    e = execution(ExecutionState.FAILED, WorkDirState.RETAINED)
    failed = attempt(ExecutionState.FAILED)
    assert headline.advice(e, failed, reusable) == text
    assert headline.advice(replace(e, attempt=2), failed, reusable) == ""
