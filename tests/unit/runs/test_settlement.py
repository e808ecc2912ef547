"""The verdict on an ended attempt (faults, rule 6)."""

import pytest

from nfresume.domain.executions import ExecutionState
from nfresume.nextflow.log import RunLog, Task
from nfresume.runs.settlement import Evidence, judge


def log(**kw) -> RunLog:
    return RunLog(completed=True, **kw)


def test_success_needs_everything():
    """Exit status 0, history OK, nothing unpublished, nobody alive."""
    assert judge(Evidence(0, log(), "OK")).state is ExecutionState.SUCCEEDED


@pytest.mark.parametrize(
    ("evidence", "said"),
    [
        (Evidence(0, log(), "-"), "before its workflow ended"),
        (Evidence(0, log(), None), "before its workflow ended"),
        (Evidence(0, log(publish_warnings=["Failed to publish file: x"]), "OK"), "not published"),
        (Evidence(0, log(), "OK", survivors=2), "could not be stopped"),
        (Evidence(0, RunLog(), "OK"), "not whole"),
        (Evidence(0, log(succeeded=1), "OK"), "not whole"),
    ],
)
def test_a_doubtful_zero_is_held(evidence, said):
    """Cases 35 and 36: exit status 0 alone is no success, and its work dir is kept."""
    verdict = judge(evidence)
    assert verdict.state is ExecutionState.FAILED
    assert verdict.held is not None
    assert said in verdict.held


def test_lock_conflict_is_busy():
    """Case 40: another Nextflow in the same session is called BUSY."""
    assert judge(Evidence(1, log(lock_conflict=True), None)).error.startswith("BUSY")


def test_disk_full_is_named():
    """Case 30: Nextflow does not say it, statvfs does."""
    verdict = judge(Evidence(1, log(), "ERR", no_space="no space left: 0 bytes"))
    assert verdict.error.startswith("no space left")


def test_killed_head_is_unclean():
    """A signal to the head, or no exit status, leaves doubts about unfinished tasks."""
    running = {"ab/cdef01": Task("ab/cdef01", "A")}
    assert "SIGKILL" in judge(Evidence(-9, RunLog(tasks=running), "-")).error
    assert not judge(Evidence(-9, RunLog(tasks=running), "-")).clean_end
    assert not judge(Evidence(None, RunLog(), None, lost_because="gone")).clean_end
    assert judge(Evidence(1, log(), "ERR")).clean_end


def test_the_cause_comes_first():
    """Of an error report, the line that names the process is shown."""
    report = ["Error executing process > 'F'", "", "Caused by:", "  Process `F` terminated (3)"]
    assert judge(Evidence(1, log(error=report), "ERR")).error == "Process `F` terminated (3)"
    assert judge(Evidence(1, RunLog(), None, said=("x", "Cannot find script file: y"))).error.endswith("y")
