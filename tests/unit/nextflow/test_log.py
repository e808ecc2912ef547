"""Nextflow's log read as a stream, and the trace; the lines are from real runs of 24.10."""

import time
from datetime import timedelta
from pathlib import Path

import pytest

from nfresume.domain.executions import TaskCounts
from nfresume.nextflow.log import LogReader, has_gaps, read
from nfresume.nextflow.trace import reused, rows, write

STAMP = "Nov-21 04:09:27.083 [Task submitter] "
SESSION = STAMP + "INFO  nextflow.Session - "
DONE = STAMP + "DEBUG n.processor.TaskPollingMonitor - Task completed > TaskHandler[id: 3; name: {name}; " \
    "status: COMPLETED; exit: {exit}; error: -; workDir: /w/{dir}]"
PUBLISH = "Nov-21 04:02:50.718 [TaskFinalizer-4] TRACE nextflow.processor.PublishDir - publishing file: "
LINES = [
    SESSION + "[af/56899f] Submitted process > A (1)",
    DONE.format(name="A (1)", exit=0, dir="af/56899f7d6b09e094d2ecdfa053fe79"),
    SESSION + "[c4/c1393a] Submitted process > I (x; status: odd)",
    DONE.format(name="I (x; status: odd)", exit=6, dir="c4/c1393acb6507ad116754b985d4d15e"),
    STAMP + "INFO  nextflow.processor.TaskProcessor - [c4/c1393a] NOTE: Process `I (1)` terminated with an "
    "error exit status (6) -- Error is ignored",
    SESSION + "[f5/c30168] Submitted process > R (1)",
    DONE.format(name="R (1)", exit=5, dir="f5/c30168d70cdcc3adc89eb8ad8e7112"),
    STAMP + "INFO  nextflow.processor.TaskProcessor - [f5/c30168] NOTE: Process `R (1)` terminated with an "
    "error exit status (5) -- Execution is retried (1)",
    SESSION + "[fa/3b51f2] Re-submitted process > R (1)",
    SESSION + "[d5/3b51f2] Cached process > C (sample [1] > 2)",
    PUBLISH + "/w/cc/c0/b -[SYMLINK]-> x.txt -[SYMLINK]-> /out/b -[SYMLINK]-> x.txt",
    PUBLISH + "/w/cc/c0/plain -[COPY]-> s3://bucket/plain",
    PUBLISH + "/w/cc/c0/cut by a line break",
    STAMP + "ERROR nextflow.processor.TaskProcessor - Error executing process > 'F (tt)'",
    "",
    "Caused by:",
    "  Process `F (tt)` terminated with an error exit status (3)",
    STAMP + "DEBUG n.trace.WorkflowStatsObserver - WorkflowStats[succeededCount=2; f=0; ]",
]


def test_counts_and_error(tmp_path: Path):
    """Counts of submitted, cached, succeeded, failed, ignored, retried tasks; the error; unfinished tasks."""
    (tmp_path / "l").write_text("\n".join(LINES) + "\n")
    log = read(tmp_path / "l")
    assert log.counts == TaskCounts(submitted=4, cached=1, succeeded=1, failed=2, ignored=1, retried=1)
    assert [t.name for t in log.unfinished] == ["R (1)"]
    assert log.error[-1].strip() == "Process `F (tt)` terminated with an error exit status (3)"
    assert log.completed
    assert log.tasks["d5/3b51f2"].process == "C"
    assert list(log.published) == ["/out/b -[SYMLINK]-> x.txt", "s3://bucket/plain"]
    assert log.unreadable == ["/w/cc/c0/cut by a line break"]


def test_partial_lines_and_every_cut(tmp_path: Path):
    """A line counts once it is complete, wherever the writes were cut."""
    data = ("\n".join(LINES) + "\n").encode()
    whole = tmp_path / "whole"
    whole.write_bytes(data)
    for size in (1, 7, 64, 1000):
        path = tmp_path / f"cut{size}"
        reader = LogReader(path)
        assert reader.poll() == 0
        with path.open("wb") as file:
            for start in range(0, len(data), size):
                file.write(data[start:start + size])
                file.flush()
                reader.poll()
        assert reader.run == read(whole)


def test_rotation(tmp_path: Path):
    """When a log is renamed and a new one begins, the old is read to its end, then the new from its start."""
    path = tmp_path / "l"
    reader = LogReader(path)
    with path.open("w") as old:
        old.write(LINES[0] + "\n")
        old.flush()
        reader.poll()
        old.write(LINES[1] + "\n")
        old.flush()
        path.rename(tmp_path / "l.1")
        path.write_text(LINES[2] + "\n")
        reader.poll()
    assert set(reader.run.tasks) == {"af/56899f", "c4/c1393a"}
    assert reader.run.tasks["af/56899f"].exit == "0"


def test_truncation(tmp_path: Path):
    """A log that is truncated and written anew is read from its start."""
    path = tmp_path / "l"
    path.write_text(LINES[0] + "\n" + LINES[1] + "\n")
    reader = LogReader(path)
    reader.poll()
    path.write_text(LINES[2] + "\n")
    reader.poll()
    assert "c4/c1393a" in reader.run.tasks


def test_hostile_bytes(tmp_path: Path):
    """Invalid UTF-8, NULs and a megabyte without a line end do no harm."""
    path = tmp_path / "l"
    path.write_bytes(b"\xff\xfe\0" * 10 + b"\n" + b"x" * 1_000_000 + b"\n" + LINES[0].encode() + b"\n")
    assert list(read(path).tasks) == ["af/56899f"]


@pytest.mark.timeout(120)
@pytest.mark.long
def test_a_million_lines(tmp_path: Path, record_property):
    """1,000,000 lines are read, and the next poll reads only the new bytes."""
    path = tmp_path / "l"
    block = "\n".join(LINES[:2] + [STAMP + "DEBUG nextflow.Session - chatter"] * 14) + "\n"
    with path.open("w") as file:
        for _ in range(62_500):
            file.write(block)
    reader = LogReader(path)
    start = time.perf_counter()
    assert reader.poll() == 125_000
    record_property("seconds", time.perf_counter() - start)
    with path.open("a") as file:
        file.write(LINES[5] + "\n")
    before = reader._file.tell()
    assert reader.poll() == 1
    assert reader._file.tell() - before == len(LINES[5]) + 1


def test_durations_come_from_the_log(tmp_path: Path):
    """Durations run from submission to completion, also across new year; cached tasks save theirs."""
    first, second = tmp_path / "1", tmp_path / "2"
    first.write_text("\n".join([
        "Dec-31 23:59:59.500 [Task submitter] INFO  nextflow.Session - [af/56899f] Submitted process > A (1)",
        "Jan-01 00:00:02.000 [x] DEBUG n.p.T - " + LINES[1].split(" - ", 1)[1],
        LINES[5], LINES[2], LINES[3],
    ]) + "\n")
    log = read(first)
    assert log.tasks["af/56899f"].duration == timedelta(seconds=2.5)
    write(tmp_path / "1.tsv", log)
    assert [(r.name, r.status, r.duration) for r in rows(tmp_path / "1.tsv")] == [
        ("A (1)", "COMPLETED", timedelta(seconds=2.5)),
        ("R (1)", "ABORTED", timedelta()),
        ("I (x; status: odd)", "FAILED", timedelta()),
    ]
    second.write_text(SESSION + "[af/56899f] Cached process > A (1)\n" + LINES[9] + "\n")
    write(tmp_path / "2.tsv", read(second))
    assert reused(tmp_path / "2.tsv", [tmp_path / "1.tsv"]) == timedelta(seconds=2.5)
    assert list(rows(tmp_path / "absent")) == []


def test_grid_executors(tmp_path: Path):
    """Job ids and completions of a grid executor; the lines follow Nextflow's source code."""
    (tmp_path / "l").write_text("\n".join([
        STAMP + "DEBUG nextflow.executor.Executor - [warm up] executor > slurm",
        STAMP + "DEBUG nextflow.executor.GridTaskHandler - [SLURM] submitted process A (1) > jobId: 71; "
        "workDir: /w/af/56899f7d6b09e094d2ecdfa053fe79",
        SESSION + "[af/56899f] Submitted process > A (1)",
        STAMP + "DEBUG nextflow.executor.GridTaskHandler - [SLURM] submitted process B > jobId: 72; "
        "workDir: /w/bf/56899f7d6b09e094d2ecdfa053fe79",
        SESSION + "[bf/56899f] Submitted process > B",
        STAMP + "DEBUG n.processor.TaskPollingMonitor - Task completed > TaskHandler[jobId: 71; id: 1; "
        "name: A (1); status: COMPLETED; exit: 0; error: -; workDir: /w/af/56899f7d6b09e094d2ecdfa053fe79 "
        "started: 1700000000; exited: 2026-11-21T04:00:00Z; ]",
    ]) + "\n")
    log = read(tmp_path / "l")
    assert log.executors == {"slurm"}
    assert log.jobs == {"71": "A (1)", "72": "B"}
    assert log.tasks["af/56899f"].exit == "0"
    assert [t.name for t in log.unfinished] == ["B"]


def test_lines_that_are_missing(tmp_path: Path):
    """A full disk cuts a line off, or leaves a gap; a line quoted in an error report does not count."""
    path = tmp_path / "nextflow.log"
    line = STAMP + "INFO  nextflow.Session - [ab/cdef01] Submitted process > A\n"
    for text, missing in ((line * 3, False), (line[:60] + line, True), (line[:4] + line, True),
                          ("\tat some.Clas" + line, True), (line + "\0\0" + line, True),
                          (line + "Command error:\n  " + line, False), ("", False)):
        path.write_text(text)
        assert has_gaps(path) is missing, text
    assert not has_gaps(tmp_path / "absent")


def test_tasks_without_an_exit_status(tmp_path: Path):
    """A native `exec:` task without an exit status did not fail; a lost task did, and an error names it."""
    path = tmp_path / "nextflow.log"
    path.write_text("\n".join([
        SESSION + "[af/56899f] Submitted process > NATIVE (1)",
        DONE.format(name="NATIVE (1)", exit="-", dir="af/56899f7d6b09e094d2ecdfa053fe79"),
        SESSION + "[c4/c1393a] Submitted process > LOST (1)",
        DONE.format(name="LOST (1)", exit="-", dir="c4/c1393acb6507ad116754b985d4d15e"),
        STAMP + "ERROR nextflow.processor.TaskProcessor - Error executing process > 'LOST (1)'", ""]))
    assert read(path).counts == TaskCounts(submitted=2, succeeded=1, failed=1)
