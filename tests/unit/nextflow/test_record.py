"""The format of the record: what is written is what is read, whatever a crash left behind."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfresume.nextflow import reading, record, record_file, reuse, summary, trace
from nfresume.nextflow.record import Status, Task
from tests import logs

TEXT = st.text(max_size=30)
ODD = TEXT | st.just("a\udcffb\n\t\0")
TASKS = st.builds(
    Task, n=st.integers(1, 9), name=ODD, status=st.sampled_from(Status), hash=TEXT, dir=TEXT,
    id=st.none() | st.integers(0, 9), was=TEXT, exit=st.none() | st.integers(-9, 255),
    submitted=st.none() | st.integers(0, 2**42), tries=st.integers(1, 3), retried=st.booleans(), error=ODD,
    inputs=st.lists(st.tuples(ODD, st.integers(-1, 9), st.integers(0, 2**62)), max_size=3).map(tuple),
    evidence=st.none() | st.tuples(TEXT, st.integers(0, 9), st.integers(0, 9)))
LINES = TASKS | st.builds(record.Published, target=ODD, source=ODD, mode=TEXT) | st.builds(
    record.Folder, path=ODD, inode=st.integers(0, 9), device=st.integers(0, 9), source=TEXT,
    filesystem=st.integers(0, 2**64 - 1)) | st.builds(
    record.Failure, text=ODD, by=st.sampled_from(["engine", "abort", "pipeline"]),
    lines=st.lists(ODD, max_size=3).map(tuple), lock=st.booleans()) | st.builds(
    record.Statistics, counts=st.dictionaries(TEXT, st.integers(0, 9), max_size=3)) | st.builds(
    record.Doubt, text=ODD, damage=st.booleans()) | st.builds(
    record.Sums, st.lists(st.tuples(ODD, st.integers(0, 9)), max_size=3).map(tuple), st.integers(0, 9),
    st.lists(TASKS, max_size=3).map(tuple))


@given(line=LINES)
def test_what_is_written_is_what_is_read(line: record.Line):
    """Every line comes back as it was, in one line of the file."""
    data = record.encode(line)
    assert data.count(b"\n") == 1
    assert record.decode(data) == line


@pytest.mark.parametrize("data", [
    b"", b"{", b'{"kind":"task","n":1}', b'{"kind":"later","x":1}', b"[]", b"\0\0", b"7",
    b'{"kind":"task","n":1,"name":"A","status":"LATER"}'])
def test_what_cannot_be_read_is_left_out(data: bytes):
    """Torn lines, and lines of a later version."""
    assert record.decode(data) is None
    assert record.decode(b'{"kind":"end","at":7,"later":1}') == record.End(7)


@given(lines=st.lists(LINES, max_size=6), kinds=st.sets(st.sampled_from(
    [Task, record.Published, record.Folder, record.Failure, record.Doubt])))
def test_lines_of_some_kinds(tmp_path_factory: pytest.TempPathFactory, lines: list[record.Line],
                             kinds: set[type[record.Line]]):
    """Only those kinds are given, and all of them."""
    path = tmp_path_factory.mktemp("record") / "record-1.jsonl"
    path.write_bytes(b"".join(map(record.encode, lines)))
    assert list(record_file.lines(path, kinds)) == [line for line in lines if type(line) in kinds]
    assert list(record_file.lines(path)) == lines


@given(steps=st.lists(st.tuples(st.integers(1, 4), st.sampled_from(Status), st.booleans()), max_size=20))
def test_lines_that_others_replace(steps: list[tuple[int, Status, bool]]):
    """The last line of each task stays, and the sum is the same."""
    whole: list[record.Line] = [record.Header(work="/w"), record.Published('/out/"was":"FAILED"')]
    now: dict[int, Task] = {}
    for n, status, retried in steps:
        task = Task(n, 'A ("was":"RUNNING")', status, was=now[n].key if n in now else "",
                    retried=retried and status is Status.FAILED, exit=len(whole))
        now[n] = task
        whole.append(task)
    left = [record.decode(data) for data in record.latest(map(record.encode, whole))]
    assert [line._replace(was="") for line in left if isinstance(line, Task)] == [
        task._replace(was="") for task in sorted(now.values(), key=lambda task: task.exit or 0)]
    found, wanted = summary.of(filter(None, left)), summary.of(whole)
    assert (found.processes, found.published) == (wanted.processes, wanted.published)
    assert found.sums == wanted.sums or {t.n for t in found.sums.failed} == {t.n for t in wanted.sums.failed}


def test_the_sums_of_a_record(tmp_path: Path):
    """A finished record says where its sums are; one of an earlier version has none."""
    failed = Task(2, "A (2)", Status.FAILED, was="RUNNING", exit=1, inputs=(("/w/x", 1, 2),))
    lines = [Task(1, "A (1)", Status.COMPLETED), failed,
             failed._replace(n=3, retried=True), record.Published("/out/x")]
    for number, has in enumerate((True, False), 1):
        writer = record_file.Writer(record_file.path_of(tmp_path, number))
        for line in lines:
            writer.write(line)
        end = record.End(1, sums=writer.size if has else 0)
        writer.write(summary.of(lines).sums)
        assert record_file.sums_of(writer.path) is None
        writer.close(end)
    sums = record_file.sums_of(record_file.path_of(tmp_path, 1))
    assert sums is not None
    assert [summary.Progress(*row) for row in sums.processes] == list(summary.of(lines).processes.values())
    assert (sums.published, sums.failed) == (1, (failed._replace(inputs=()),))
    assert record_file.sums_of(record_file.path_of(tmp_path, 2)) is None


def test_a_record_that_grows(tmp_path: Path):
    """A reader gives what is new and complete; a torn last line waits, wherever the writes were cut."""
    path = tmp_path / "record-3.jsonl"
    lines = [record.Header(work="/w"), Task(1, "A (\n)", Status.RUNNING), record.Published("/out/\udcff"),
             Task(1, "A (\n)", Status.FAILED, was="RUNNING"), record.End(9)]
    data = b"".join(map(record.encode, lines))
    for size in (1, 7, 50):
        path.write_bytes(b"")
        reader, found = record_file.Reader(path), []
        with path.open("ab", buffering=0) as file:
            for start in range(0, len(data), size):
                assert record_file.end_of(path) is None
                file.write(data[start:start + size])
                found += reader.poll()
        assert found == lines
        assert record_file.end_of(path) == record.End(9)
        reader.close()


def test_the_record_with_the_highest_token_counts(tmp_path: Path):
    """Each supervisor writes a record of its own; tokens are numbers."""
    for token in (9, 10, 2):
        writer = record_file.Writer(record_file.path_of(tmp_path, token))
        writer.write(record.Executor(f"of {token}"))
        writer.close(record.End(token) if token != 10 else None)
    (tmp_path / "record-11.jsonl.tmp").touch()
    assert [path.name for path in record_file.paths(tmp_path)] == [
        "record-2.jsonl", "record-9.jsonl", "record-10.jsonl"]
    assert list(reading.lines(tmp_path)) == [record.Executor("of 10")]


def test_an_unfinished_record_of_an_ended_attempt(tmp_path: Path):
    """A full disk left it unfinished: what it says is made from the log, which has all of it."""
    attempt = tmp_path / "attempts/1"
    attempt.mkdir(parents=True)
    (attempt / "nextflow.log").write_text("\n".join([
        logs.submitted(1, "A"), logs.done(1, "A"), logs.statistics(succeeded=1), ""]))
    writer = record_file.Writer(record_file.path_of(attempt, 1))
    writer.write(Task(1, "A", Status.RUNNING))
    writer.close(None)
    live = reading.lines(attempt, ended=False)
    assert [line.status for line in live if isinstance(line, Task)] == ["RUNNING"]
    whole = list(reading.lines(attempt))
    assert [line.status for line in whole if isinstance(line, Task)] == ["RUNNING", "COMPLETED"]
    assert (summary.of(whole).whole, isinstance(whole[-1], record.End)) == (True, True)


def test_a_full_disk(tmp_path: Path):
    """A writer whose disk is full stops, and the record never gets its end."""
    writer = record_file.Writer(Path("/dev/full"))
    writer.write(record.Executor("local"))
    writer.flush()
    assert writer.broken
    writer.close(record.End(1))
    assert record_file.Writer(tmp_path / "absent/record-1.jsonl").broken


def test_summary_of_changes():
    """Counts follow from what a task was before, so that no task has to be remembered."""
    total = summary.of([
        Task(1, "A (1)", Status.RUNNING), Task(2, "A (2)", Status.RUNNING), Task(3, "B", Status.CACHED),
        Task(1, "A (1)", Status.COMPLETED, was="RUNNING"), Task(1, "A (1)", Status.FAILED, was="COMPLETED"),
        Task(1, "A (1)", Status.FAILED, was="FAILED", ignored=True), Task(4, "S", Status.STORED),
        Task(2, "A (2)", Status.ABORTED, was="RUNNING")])
    assert {p: (r.running, r.completed, r.failed, r.ignored, r.aborted, r.cached)
            for p, r in total.processes.items()} == {
        "A": (0, 0, 1, 1, 1, 0), "B": (0, 0, 0, 0, 0, 1), "S": (0, 0, 0, 0, 0, 1)}
    assert [t.n for t in total.unfinished.values()] == [2]


def test_trace(tmp_path: Path):
    """The trace has each task once, as it was at the end; names cannot break its lines."""
    path = tmp_path / "trace.tsv"
    trace.write(path, iter([
        Task(1, "A (a\r\n\tb)", Status.RUNNING, "ab/cdef01"),
        Task(1, "A (a\r\n\tb)", Status.COMPLETED, "ab/cdef01", exit=0, submitted=1000, completed=3500),
        Task(1, "A (a\r\n\tb)", Status.FAILED, "ab/cdef01", exit=0, submitted=1000, completed=3500),
        Task(2, "B", Status.CACHED, "cd/cdef01", took=9), Task(3, "N", Status.COMPLETED, "ef/cdef01"),
        Task(4, "S", Status.STORED), Task(5, "X", Status.ABORTED, "aa/cdef01")]))
    assert [(r.hash, r.name, r.status, r.duration) for r in trace.rows(path)] == [
        ("ab/cdef01", "A (a\\r\\n\\tb)", "FAILED", timedelta(seconds=2.5)),
        ("cd/cdef01", "B", "CACHED", timedelta()), ("ef/cdef01", "N", "COMPLETED", timedelta()),
        ("aa/cdef01", "X", "ABORTED", timedelta())]
    assert list(trace.rows(tmp_path / "absent")) == []


def attempt(folder: Path, number: int, *tasks: Task) -> None:
    place = folder / str(number)
    place.mkdir(parents=True)
    writer = record_file.Writer(record_file.path_of(place, 1))
    took = 0
    for task in tasks:
        writer.write(task)
        took += reuse.milliseconds(task)
    writer.close(record.End(1, len(tasks), took))


def test_what_a_relaunch_would_save(tmp_path: Path):
    """All attempts count, each task as its last attempt left it."""
    def ran(n: int, name: str, seconds: int, status: Status = Status.COMPLETED, was: str = "") -> Task:
        return Task(n, name, status, submitted=0, completed=seconds * 1000, was=was)

    attempt(tmp_path, 1, ran(1, "A", 3600), ran(2, "B", 60), ran(3, "C", 7),
            ran(3, "C", 7, Status.FAILED, "COMPLETED"))
    assert reuse.reusable(tmp_path, 1) == timedelta(seconds=3660)
    attempt(tmp_path, 2)  # it failed at once, and ran nothing
    assert reuse.reusable(tmp_path, 2) == timedelta(seconds=3660)
    attempt(tmp_path, 3, Task(1, "A", Status.CACHED, took=3_600_000, cached_from=1), ran(2, "B", 90),
            ran(3, "C", 5))
    assert reuse.reusable(tmp_path, 3) == timedelta(seconds=3695)
    assert reuse.reused(tmp_path / "3") == timedelta(hours=1)
    os.utime(tmp_path / "3/record-1.jsonl")
    assert reuse.reusable(tmp_path, 3) == timedelta(seconds=3695)
