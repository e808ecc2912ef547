"""Tasks are told apart by Nextflow's id and their whole task dir, never by a short hash alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from nfresume.domain.executions import TaskCounts
from nfresume.nextflow.tracking import Origin
from tests import logs
from tests.logs import cached, done, fault, note, read, stamped, statistics, submitted, work_dir


def follow(tmp_path: Path, *lines: str, **more: object) -> logs.Read:
    return read(tmp_path / "nextflow.log", "\n".join([work_dir(), *lines, ""]), **more)


def test_two_tasks_with_one_short_hash(tmp_path: Path):
    """nextflow#3385: with 65,000 tasks two of them have one short hash in 39 % of all runs."""
    found = follow(
        tmp_path,
        submitted(1, "A (1)", "ab/cdef01"),
        submitted(2, "B (2)", "ab/cdef01"),
        done(2, "B (2)", 0, "ab/cdef01"),
        done(1, "A (1)", 3, "ab/cdef01"),
        fault(1, "A (1)", "Process `A (1)` terminated", "ab/cdef01"),
        statistics(succeeded=1, failed=1),
    )
    assert found.total.counts == TaskCounts(submitted=2, succeeded=1, failed=1)
    assert found.named("A (1)").dir == logs.task_dir(1, "ab/cdef01")
    assert (found.named("B (2)").id, found.named("B (2)").exit) == (2, 0)
    assert found.total.whole


def test_two_unfinished_tasks_with_one_short_hash_and_name(tmp_path: Path):
    """What stays ambiguous is kept apart: one of two tasks with one name has ended, the other one runs."""
    found = follow(
        tmp_path, submitted(1, "A", "ab/cdef01"), submitted(2, "A", "ab/cdef01"), done(2, "A", 0, "ab/cdef01")
    )
    assert sorted(task.status for task in found.tasks) == ["ABORTED", "COMPLETED"]


def test_a_missing_output_is_a_failure(tmp_path: Path):
    """A task that ended with exit status 0 and lacks a declared output has failed."""
    why = "Missing output file(s) `r.txt` expected by process `A`"
    found = follow(
        tmp_path,
        submitted(1, "A"),
        done(1, "A"),
        fault(1, "A", why),
        stamped(
            "nextflow.processor.TaskProcessor",
            "ERROR",
            f"Error executing process > 'A'\n\nCaused by:\n  {why}\n",
        ),
        statistics(succeeded=0, failed=1),
    )
    task = found.named("A")
    assert (task.status, task.exit, task.error) == ("FAILED", 0, why)
    assert found.total.counts == TaskCounts(submitted=1, failed=1)
    assert found.total.error == why


def test_native_tasks(tmp_path: Path):
    """An `exec:` task has no exit status: it failed when Nextflow says an error, else it is completed."""
    found = follow(
        tmp_path,
        submitted(1, "N (ann\nbob)"),
        done(1, "N (ann\nbob)", "-"),
        submitted(2, "X"),
        done(2, "X", "-", error="java.lang.RuntimeException: boom\nagain"),
        fault(2, "X", "Process `X` failed"),
        submitted(3, "LOST"),
        done(3, "LOST", "-"),
        fault(3, "LOST", "terminated for an unknown reason"),
        statistics(succeeded=1, failed=2),
    )
    assert [(t.status, t.exit) for t in found.tasks] == [
        ("COMPLETED", None),
        ("FAILED", None),
        ("FAILED", None),
    ]
    assert found.named("X").error == "java.lang.RuntimeException: boom again"
    assert found.total.whole


def test_retries_and_ignored_failures(tmp_path: Path):
    """Notes concern the last failure of their thread; each retry counts as a try of its own."""
    found = follow(
        tmp_path,
        submitted(1, "R", "ab/cdef01"),
        submitted(2, "I", "ab/cdef01"),
        done(1, "R", 1, "ab/cdef01"),
        done(2, "I", 2, "ab/cdef01"),
        fault(1, "R", "r", "ab/cdef01", "TaskFinalizer-1"),
        fault(2, "I", "i", "ab/cdef01", "TaskFinalizer-2"),
        note(2, "i -- Error is ignored", "ab/cdef01", "TaskFinalizer-2"),
        note(1, "r -- Execution is retried (1)", "ab/cdef01", "TaskFinalizer-1"),
        submitted(3, "R", verb="Re-submitted"),
        done(3, "R", 1),
        fault(3, "R", "r"),
        note(3, "r -- Execution is retried (2)"),
        submitted(4, "R", verb="Re-submitted"),
        done(4, "R"),
        statistics(succeeded=1, failed=3, ignored=1, retries=2),
    )
    assert found.total.counts == TaskCounts(submitted=4, succeeded=1, failed=3, ignored=1, retried=2)
    assert [(t.name, t.tries, t.retried, t.ignored) for t in found.tasks] == [
        ("R", 1, True, False),
        ("I", 1, False, True),
        ("R", 2, True, False),
        ("R", 3, False, False),
    ]


def test_a_task_that_could_not_be_submitted(tmp_path: Path):
    """A cluster refuses a job: there is a failure, and no submission."""
    found = follow(tmp_path, fault(1, "A", "Failed to submit process to grid scheduler"))
    assert [(t.name, t.status, t.dir) for t in found.tasks] == [("A", "FAILED", logs.task_dir(1))]
    assert (
        follow(
            tmp_path,
            stamped(
                "nextflow.processor.TaskProcessor",
                "DEBUG",
                "Handling unexpected condition for\n  task: name=A; work-dir=null\n  error [a.B]: c",
            ),
        ).tasks
        == []
    )


def test_completion_before_submission(tmp_path: Path):
    """Two threads write these lines, so a short task may be seen to end first."""
    found = follow(
        tmp_path,
        done(1, "A"),
        submitted(1, "A"),
        done(2, "B", 1),
        fault(2, "B", "x"),
        submitted(2, "B"),
        statistics(succeeded=1, failed=1),
    )
    assert [(t.name, t.status) for t in found.tasks] == [("A", "COMPLETED"), ("B", "FAILED")]
    assert found.total.counts == TaskCounts(submitted=2, succeeded=1, failed=1)


def test_stored_and_cached_tasks(tmp_path: Path):
    """Tasks that are skipped as stored count as reused; a cached one is looked up by hash and name."""
    asked = []

    def origin(short: str, name: str) -> Origin | None:
        asked.append((short, name))
        return Origin(logs.task_dir(5), 1, 2500) if name == "C" else None

    stored = stamped("nextflow.processor.TaskProcessor", "INFO", "[skipping] Stored process > S (a\nb)")
    found = follow(
        tmp_path, stored, cached(5, "C"), cached(6, "D"), statistics(succeeded=0, cached=2), origin=origin
    )
    assert found.total.counts == TaskCounts(cached=3)
    assert (found.total.stored, asked) == (1, [(logs.task_dir(5)[:9], "C"), (logs.task_dir(6)[:9], "D")])
    assert (found.named("C").dir, found.named("C").cached_from, found.named("C").took) == (
        logs.task_dir(5),
        1,
        2500,
    )
    assert (found.named("D").dir, found.named("D").hash) == ("", logs.task_dir(6)[:9])


def test_grid_executors_and_job_arrays(tmp_path: Path):
    """Jobs that may still run: those of unfinished tasks, and those of arrays."""

    def job(number: int, name: str, job: int) -> str:
        return stamped(
            "nextflow.executor.GridTaskHandler",
            "DEBUG",
            f"[SLURM] submitted process {name} > jobId: {job}; workDir: {logs.WORK}/{logs.task_dir(number)}",
        )

    found = follow(
        tmp_path,
        stamped("nextflow.executor.Executor", "DEBUG", "[warm up] executor > slurm"),
        job(1, "A (1)", 71),
        submitted(1, "A (1)"),
        job(2, "B", 72),
        submitted(2, "B"),
        job(9, "C (array)", 73),
        submitted(3, "C (1)"),
        submitted(4, "C (2)"),
        done(1, "A (1)", before="jobId: 71; ", after=" started: 1700000000; exited: 2026-11-21T04:00:00Z; "),
        done(3, "C (1)", before="jobId: 73_0; ", after=" started: -; exited: -; "),
    )
    assert found.total.executors == {"slurm"}
    assert found.total.jobs == {"72": "B", "73": "C (array)"}
    assert [(t.name, t.job, t.dir) for t in found.total.unfinished.values()] == [
        ("B", "72", logs.task_dir(2)),
        ("C (2)", "", ""),
    ]
    assert found.named("C (1)").job == "73_0"


def test_other_runs_are_not_ours(tmp_path: Path):
    """A completion in another work dir is of a nested run."""
    found = follow(tmp_path, submitted(1, "A"), done(1, "A", work="/other/work"), done(1, "A"))
    assert [t.status for t in found.tasks] == ["COMPLETED"]
    assert len(follow(tmp_path, done(1, "A", work="/other/work")).tasks) == 0


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        (
            [
                stamped("nextflow.Nextflow", "ERROR", "pipeline's words"),
                stamped(
                    "nextflow.Session", "DEBUG", "Session aborted -- Cause: Missing `fromPath` parameter"
                ),
            ],
            "Missing `fromPath` parameter",
        ),
        (
            [
                stamped("nextflow.Nextflow", "ERROR", "pipeline's words"),
                stamped("nextflow.Nextflow", "ERROR", "bye"),
            ],
            "pipeline's words",
        ),
        (
            [
                stamped("nextflow.Session", "DEBUG", "Session aborted -- Cause: x"),
                stamped("nextflow.cli.Launcher", "ERROR", "@unknown\na.b.CException: why\n\tat a.b.C"),
                stamped("nextflow.cli.Launcher", "ERROR", "later"),
            ],
            "why",
        ),
        (
            [
                stamped(
                    "nextflow.script.WorkflowMetadata",
                    "ERROR",
                    "Failed to invoke `workflow.onComplete` event handler",
                )
            ],
            "",
        ),
    ],
)
def test_whose_words_count(tmp_path: Path, lines: list[str], error: str):
    """Nextflow's first error, then why it aborts, then what the pipeline says; a handler's failure "
    "is none."""
    found = follow(tmp_path, *lines)
    assert found.total.error == error
    assert found.total.engine_failed is (error not in ("", "pipeline's words"))


def test_another_head_holds_the_session(tmp_path: Path):
    """The lock of the cache is known by the engine's own error."""
    text = "Unable to acquire lock on session with ID 1-2\nCommon reasons"
    assert follow(tmp_path, stamped("nextflow.cli.Launcher", "ERROR", text)).total.lock_conflict
    assert not follow(tmp_path, stamped("nextflow.Nextflow", "ERROR", text)).total.lock_conflict


def test_the_head_of_a_python_workflow(tmp_path: Path):
    """It writes the same messages with one logger; a task without an exit status was killed."""

    def line(level: str, message: str) -> str:
        return stamped("nfresume.tasks", level, message)

    place = f"{logs.WORK}/{logs.task_dir(1)}"
    short = logs.task_dir(1)[:9]
    found = read(
        tmp_path / "l",
        "\n".join(
            [
                line("DEBUG", "[warm up] executor > local"),
                line("INFO", f"[{short}] Submitted process > square"),
                line(
                    "DEBUG",
                    "Task completed > TaskHandler[id: 1; name: square; status: COMPLETED; exit: -; error: -; "
                    f"workDir: {place}]",
                ),
                line(
                    "INFO", f"[{short}] NOTE: Process `square` was killed by signal 9 -- Execution is retried"
                ),
                line("INFO", f"[{logs.task_dir(2)[:9]}] Submitted process > square"),
                line("ERROR", "Process `square` failed with exit status 1: boom"),
                line("DEBUG", "Workflow completed > WorkflowStats[succeededCount=0; failedCount=2;]"),
                "",
            ]
        ),
    )
    assert [(t.status, t.tries, t.retried) for t in found.tasks] == [
        ("FAILED", 1, True),
        ("ABORTED", 2, False),
    ]
    assert found.total.error == "Process `square` failed with exit status 1: boom"
    assert found.total.completed


def test_memory_is_bounded(tmp_path: Path):
    """What is remembered depends on how many tasks run at a time."""
    from nfresume.nextflow.tracking import Tracker

    tracker = Tracker(lambda _: None)
    for number in range(1, 40_000):
        name = f"A ({number})"
        tracker.takers["session"](0, submitted(number, name).partition(" - ")[2], False, b"")
        tracker.takers["monitor"](0, done(number, name).partition(" - ")[2], False, b"")
        tracker.takers["monitor"](
            0, done(number, f"B ({number})", short="ff/ffffff").partition(" - ")[2], False, b""
        )
    assert not tracker._pending
    assert (len(tracker._recent), len(tracker._early)) == (16_384, 4096)
