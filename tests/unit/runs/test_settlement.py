"""The verdict on an ended attempt (ARCHITECTURE.md, rule 2)."""

import pytest

from nfresume.domain.executions import ExecutionState
from nfresume.nextflow.log import RunLog, Task
from nfresume.runs.verdict import Evidence, judge


def log(**kw) -> RunLog:
    return RunLog(completed=True, **kw)


def test_success_needs_everything():
    """Exit status 0, OK in the history, a complete log and no survivors are a success."""
    assert judge(Evidence(0, log(), "OK")).state is ExecutionState.SUCCEEDED


@pytest.mark.parametrize(
    ("evidence", "said"),
    [
        (Evidence(0, log(), "-"), "before its workflow ended"),
        (Evidence(0, log(), None), "before its workflow ended"),
        (Evidence(0, log(publish_warnings=["Failed to publish file: x"]), "OK"), "not published"),
        (Evidence(0, log(), "OK", survivors=2), "could not be stopped"),
        (Evidence(0, RunLog(), "OK"), "incomplete"),
        (Evidence(0, log(succeeded=1), "OK"), "incomplete"),
    ],
)
def test_a_doubtful_zero_is_held(evidence, said):
    """Cases 35 and 36: exit status 0 alone is no success; the attempt is FAILED and its work dir held."""
    verdict = judge(evidence)
    assert verdict.state is ExecutionState.FAILED
    assert verdict.doubt is not None
    assert said in verdict.doubt.reason


def test_exit_0_before_anything_ran():
    """`--help` that ends in `exit 0`: the history knows no end, but no task ran, so nothing can be lost."""
    assert judge(Evidence(0, log(), "-", nothing_ran=True)).state is ExecutionState.SUCCEEDED


def test_lock_conflict_is_busy():
    """Case 40: the error says BUSY when another Nextflow uses the same session."""
    assert judge(Evidence(1, log(lock_conflict=True), None)).error.startswith("BUSY")


def test_disk_full_is_named():
    """Case 30: a full disk is named as the error, although Nextflow does not say it."""
    verdict = judge(Evidence(1, log(), "ERR", no_space="no space left: 0 bytes"))
    assert verdict.error.startswith("no space left")


def test_killed_head_is_unclean():
    """When the head was killed or left no exit status, unfinished tasks make the end unclean."""
    running = {"ab/cdef01": Task("ab/cdef01", "A")}
    assert "SIGKILL" in judge(Evidence(-9, RunLog(tasks=running), "-")).error
    assert not judge(Evidence(-9, RunLog(tasks=running), "-")).clean_end
    assert not judge(Evidence(None, RunLog(), None, lost_because="gone")).clean_end
    assert judge(Evidence(1, log(), "ERR")).clean_end


def test_the_cause_comes_first():
    """The error is the report's line that names the process; without a report, the last printed line."""
    report = ["Error executing process > 'F'", "", "Caused by:", "  Process `F` terminated (3)"]
    assert judge(Evidence(1, log(error=report), "ERR")).error == "Process `F` terminated (3)"
    assert judge(Evidence(1, RunLog(), None, said=("x", "Cannot find script file: y"))).error.endswith("y")
