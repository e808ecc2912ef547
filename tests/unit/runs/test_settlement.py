"""The verdict on an ended attempt (ARCHITECTURE.md, rule 2)."""

from pathlib import Path

import pytest

from nfresume.domain.executions import Attempt, ExecutionState, TaskCounts
from nfresume.nextflow.command import EXIT_STATUS, STDOUT
from nfresume.nextflow.record import Failure, Status, Task
from nfresume.nextflow.summary import Progress, Summary
from nfresume.runs.verdict import Evidence, gather, judge
from nfresume.storage import Root


def log(succeeded: int = 0, **kw) -> Summary:
    return Summary(statistics={"succeeded": succeeded}, processes={"A": Progress("A")}, **kw)


def test_success_needs_everything():
    """Exit status 0, OK in the history, a complete log and no survivors are a success."""
    assert judge(Evidence(0, log(), "OK")).state is ExecutionState.SUCCEEDED


@pytest.mark.parametrize(
    ("evidence", "said"),
    [
        (Evidence(0, log(), "-"), "before its workflow ended"),
        (Evidence(0, log(), None), "before its workflow ended"),
        (Evidence(0, log(unpublished=["Failed to publish file: x"]), "OK"), "not published"),
        (Evidence(0, log(), "OK", survivors=2), "could not be stopped"),
        (Evidence(0, Summary(), "OK"), "incomplete"),
        (Evidence(0, log(succeeded=1), "OK"), "incomplete"),
        (Evidence(0, log(damaged=True), "OK"), "incomplete"),
    ],
)
def test_a_doubtful_zero_is_held(evidence, said):
    """Cases 35 and 36: exit status 0 alone is no success; the attempt is FAILED and its work dir held."""
    verdict = judge(evidence)
    assert verdict.state is ExecutionState.FAILED
    assert verdict.doubt is not None
    assert said in verdict.doubt.reason


def test_doubts_about_paths_leave_the_log_whole():
    """A published path that cannot be read holds the work dir; the run itself has succeeded."""
    assert judge(Evidence(0, log(doubts=["x"]), "OK")).state is ExecutionState.SUCCEEDED


def test_exit_0_before_anything_ran():
    """`--help` that ends in `exit 0`."""
    assert judge(Evidence(0, log(), "-", nothing_ran=True)).state is ExecutionState.SUCCEEDED


def test_lock_conflict_is_busy():
    """Case 40: the error says BUSY when another Nextflow uses the same session."""
    busy = log(failure=Failure("Unable to acquire lock", lock=True))
    assert judge(Evidence(1, busy, None)).error.startswith("BUSY")


def test_disk_full_is_named():
    """Case 30: a full disk is named as the error, although Nextflow does not say it."""
    verdict = judge(Evidence(1, log(), "ERR", no_space="no space left: 0 bytes"))
    assert verdict.error.startswith("no space left")


def test_killed_head_is_unclean():
    """When the head was killed or left no exit status, unfinished tasks make the end unclean."""
    running = Summary(unfinished={1: Task(1, "A", Status.ABORTED, "ab/cdef01")})
    assert "SIGKILL" in judge(Evidence(-9, running, "-")).error
    assert not judge(Evidence(-9, running, "-")).clean_end
    assert not judge(Evidence(None, Summary(), None, lost_because="gone")).clean_end
    assert judge(Evidence(1, log(), "ERR")).clean_end


def test_the_cause_is_shown():
    """The error is what the record says; a signal is named; without an error, the last printed line."""
    def error(text: str) -> str | None:
        return judge(Evidence(1, log(failure=Failure(text)), "ERR", said=("printed",))).error

    assert error("Missing output file(s) `r.txt`") == "Missing output file(s) `r.txt`"
    assert error("SIGTERM") == "Nextflow was stopped by SIGTERM"
    assert judge(Evidence(1, Summary(), None, said=("x", "Cannot find script file: y"))).error.endswith("y")


def test_ignored_failures_that_count():
    """With workflow.failOnIgnore Nextflow ends with 1 and says nothing: the error says it."""
    row = Progress("A", failed=1, ignored=1)
    ignored = Summary(statistics={"failed": 1, "ignored": 1}, processes={"A": row})
    assert "workflow.failOnIgnore" in judge(Evidence(1, ignored, "ERR")).error
    assert judge(Evidence(3, ignored, "ERR")).error == "Nextflow ended with exit status 3"


def test_where_the_strict_parser_found_an_error(tmp_path: Path):
    """In the log it names classes (`Main: 2: ...`); file, line and cause are only on standard output."""
    folder = Root.mark(tmp_path / "root").execution("team", "x-1")
    folder.provision(1)
    (folder.attempt(1) / EXIT_STATUS).write_text('{"exit_code": 1}')
    (folder.attempt(1) / STDOUT).write_text(
        "Launching `main.nf`\n\nError modules/a.nf:2:7: Unexpected input: '='\n|   2 |   x = = 3\n\n"
        "ERROR ~ Script compilation failed\n\n -- Check '.nextflow.log' file for details\n")
    attempt = Attempt("x-1", 1, "x-1-1", ExecutionState.RUNNING, (), "main.nf", None, "26.04.6", TaskCounts())
    failed = Summary(failure=Failure("Script compilation failed"))
    found = gather(attempt, folder, failed, 0, "", tmp_path, here=True)
    assert judge(found).error == "cannot compile modules/a.nf, line 2: Unexpected input: '='"
