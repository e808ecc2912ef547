"""Entries of Nextflow's log: what is one, which count, and when lines are missing."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nfresume.domain.executions import TaskCounts
from nfresume.nextflow.log import LogReader
from nfresume.nextflow.tracking import Tracker
from tests import logs
from tests.logs import (
    cached,
    done,
    fault,
    note,
    published,
    read,
    stamped,
    statistics,
    submitted,
    work_dir,
)

LINES = [
    work_dir(),
    submitted(1, "A (1)"),
    done(1, "A (1)"),
    submitted(2, "I (x; status: odd)"),
    done(2, "I (x; status: odd)", 6),
    fault(2, "I (x; status: odd)", "Process `I (1)` terminated with an error exit status (6)"),
    note(2, "Process `I (1)` terminated with an error exit status (6) -- Error is ignored"),
    submitted(3, "R (1)"),
    done(3, "R (1)", 5),
    fault(3, "R (1)", "Process `R (1)` terminated with an error exit status (5)"),
    note(3, "Process `R (1)` terminated with an error exit status (5) -- Execution is retried (1)"),
    submitted(4, "R (1)", verb="Re-submitted"),
    cached(5, "C (sample [1] > 2)"),
    published(f"{logs.WORK}/cc/c0/b", "/out/b -[SYMLINK]-> x.txt"),
    published(f"{logs.WORK}/cc/c0/plain", "s3://bucket/plain", "COPY"),
    stamped("nextflow.processor.PublishDir", "TRACE", "publishing file: /w/cc/c0/cut"),
    stamped("nextflow.processor.TaskProcessor", "ERROR", "Error executing process > 'F (tt)'\n\nCaused by:\n"
            "  Process `F (tt)` terminated with an error exit status (3)\n\nCommand executed:\n\n  exit 3\n"),
    statistics(succeeded=1, failed=2),
]


def test_counts_and_error(tmp_path: Path):
    """Counts of submitted, cached, succeeded, failed, ignored, retried tasks; the error; unfinished tasks."""
    found = read(tmp_path / "l", "\n".join(LINES) + "\n")
    assert found.total.counts == TaskCounts(submitted=4, cached=1, succeeded=1, failed=2, ignored=1,
                                            retried=1)
    assert [t.name for t in found.total.unfinished.values()] == ["R (1)"]
    assert found.named("R (1)").tries == 2
    assert found.total.error == "Process `F (tt)` terminated with an error exit status (3)"
    assert found.total.completed
    assert found.targets == ["/out/b -[SYMLINK]-> x.txt", "s3://bucket/plain"]
    assert found.total.doubts == ["publishing file: /w/cc/c0/cut: its path cannot be read from the log"]


def test_partial_lines_and_every_cut(tmp_path: Path):
    """An entry counts once it is complete, wherever the writes were cut."""
    data = ("\n".join(LINES) + "\n").encode()
    whole = read(tmp_path / "whole", data)
    for size in (1, 7, 64, 1000):
        path = tmp_path / f"cut{size}"
        lines: list[object] = []
        tracker = Tracker(lines.append)
        reader = LogReader(path, tracker.takers, lambda: logs.STARTED)
        assert reader.poll() == 0
        with path.open("wb") as file:
            for start in range(0, len(data), size):
                file.write(data[start:start + size])
                file.flush()
                reader.poll()
        reader.close()
        tracker.close()
        assert lines == whole.lines


def test_the_last_entry_waits_for_its_further_lines(tmp_path: Path):
    """A tag with a line break is one name, also when its second line comes with a later write."""
    path = tmp_path / "l"
    first, second = submitted(1, "A (ann\nbob)").split("\n")
    path.write_text(first + "\n")
    lines: list[object] = []
    reader = LogReader(path, Tracker(lines.append).takers)
    assert (reader.poll() > 0, lines) == (True, [])
    with path.open("a") as file:
        file.write(second + "\n")
    assert (reader.poll() > 0, lines) == (True, [])
    assert reader.poll() == 0  # nothing new: it is complete
    assert [line.name for line in lines] == ["A (ann\nbob)"]


def test_rotation(tmp_path: Path):
    """When a log is renamed and a new one begins, the old is read to its end, then the new from its start."""
    path, lines = tmp_path / "l", []
    reader = LogReader(path, Tracker(lines.append).takers)
    with path.open("w") as old:
        old.write(submitted(1, "A") + "\n")
        old.flush()
        reader.poll()
        old.write(done(1, "A") + "\n")
        old.flush()
        path.rename(tmp_path / "l.1")
        path.write_text(submitted(2, "B") + "\n")
        reader.poll()
    reader.close()
    assert [(line.name, line.status) for line in lines] == [("A", "RUNNING"), ("A", "COMPLETED"),
                                                            ("B", "RUNNING")]


def test_truncation(tmp_path: Path):
    """A log that is truncated and written anew is read from its start."""
    path, lines = tmp_path / "l", []
    path.write_text(submitted(1, "A") + "\n" + done(1, "A") + "\n")
    reader = LogReader(path, Tracker(lines.append).takers)
    reader.poll()
    path.write_text(submitted(2, "B") + "\n")
    reader.poll()
    reader.close()
    assert "B" in [line.name for line in lines]


def test_hostile_bytes(tmp_path: Path):
    """Invalid UTF-8, NULs and a megabyte without a line end do no harm."""
    data = b"\xff\xfe\0" * 10 + b"\n" + b"x" * 3_000_000 + b"\n" + submitted(1, "A").encode() + b"\n"
    assert [task.name for task in read(tmp_path / "l", data).tasks] == ["A"]


QUOTED = "\n".join([
    submitted(7, "NESTED (1)", at="Nov-21 04:08:01.000"), done(7, "NESTED (1)", work="/elsewhere/work"),
    statistics(succeeded=900, failed=7), "Nov-21 04:08:02.000 [main] ERROR nextflow.cli.Launcher - @unknown",
    "Nov-21 04:08:02.000 [x] WARN  nextflow.processor.PublishDir - Failed to publish file: a -- See log file",
    "Nov-21 04:08:02.000 [x] DEBUG nextflow.Session - Session aborted -- Cause: b",
])


@pytest.mark.parametrize("logger", ["nextflow.Nextflow", "nextflow.script.BaseScript", "my.Plugin"])
def test_what_a_pipeline_prints_proves_nothing(tmp_path: Path, logger: str):
    """Text like Nextflow's own counts for nothing from another logger, or quoted in a message."""
    text = "\n".join([
        work_dir(),
        stamped(logger, "INFO", "[ab/cdef01] Submitted process > FAKE (1)"),
        stamped(logger, "INFO", f"[ab/cdef01] NOTE: x -- Error is ignored\n{QUOTED}"),
        stamped(logger, "WARN", "Failed to publish file: a; to: b [copy] -- See log file for details"),
        stamped(logger, "DEBUG", "Task completed > TaskHandler[id: 1; name: A; status: COMPLETED; exit: 1; "
                                 f"error: -; workDir: {logs.WORK}/ab/{'c' * 30}]"),
        stamped(logger, "TRACE", f"publishing file: {logs.WORK}/ab/c/x -[SYMLINK]-> /home/x"),
        stamped("nextflow.Session", "DEBUG", "[ab/cdef01] Submitted process > FAKE (2)"),
        stamped("nextflow.processor.PublishDir", "DEBUG",
                "Failed to publish file: a; to: b [copy] -- attempt: 1; reason: b"),
        "[ab/cdef01] Submitted process > PRINTED",
        "  " + submitted(8, "INDENTED", at="Nov-21 04:08:03.000"),
        statistics(succeeded=0, failed=0), ""])
    found = read(tmp_path / "l", text, exists=lambda _: False)
    assert (found.tasks, found.targets, found.total.unpublished, found.damage) == ([], [], [], [])
    assert found.total.whole
    assert found.total.failure is None
    assert found.total.statistics == {"succeeded": 0, "failed": 0}


def test_a_result_that_replaces_a_file_counts_once(tmp_path: Path):
    """Nextflow tells it twice in one thread, before and after it has removed the file that was there."""
    def told(name: str, thread: str) -> str:
        return stamped("nextflow.processor.PublishDir", "TRACE",
                       f"publishing file: {logs.WORK}/ab/{'c' * 30}/{name} -[SYMLINK]-> /o/{name}",
                       thread=thread)

    text = "\n".join([work_dir(), told("a", "T-1"), told("b", "T-2"), told("a", "T-1"), told("b", "T-2"),
                      told("c", "T-1"), told("a", "T-3"), ""])
    found = read(tmp_path / "l", text)
    assert [Path(target).name for target in found.targets] == ["a", "b", "c", "a"]
    assert found.total.published == 4


def test_a_quotation_that_is_out_of_order_needs_its_task_dir(tmp_path: Path):
    """An entry with an earlier stamp than the one before it counts if its task dir is in the work dir."""
    text = "\n".join([work_dir(), stamped("nextflow.Nextflow", "INFO", "the other run said:"),
                      submitted(7, "A", at="Nov-21 04:08:01.000"), ""])
    assert read(tmp_path / "1", text, exists=lambda _: False).tasks == []
    asked = []
    assert len(read(tmp_path / "2", text, exists=lambda short: asked.append(short) or True).tasks) == 1
    assert asked == [logs.task_dir(7)[:9]]


def test_a_publication_that_was_retried(tmp_path: Path):
    """DEBUG lines about a try are no failure; a WARN or ERROR that refers to the log file is."""
    failed = "Failed to publish file: /w/a\nb; to: /out/a [copy]"
    for level, message, count in (
        ("DEBUG", f"{failed} -- attempt: 1; reason: disk", 0), ("WARN", f"{failed} -- attempt: 1", 0),
        ("WARN", f"{failed} -- See log file for details\njava.io.IOException: x\n\tat a.b.C", 1),
        ("ERROR", f"{failed} -- See log file for details", 1),
    ):
        found = read(tmp_path / "l", stamped("nextflow.processor.PublishDir", level, message) + "\n")
        assert len(found.total.unpublished) == count, (level, message)


def test_lines_that_are_missing(tmp_path: Path):
    """A full disk cuts a line off, or leaves a hole; quoted lines, NULs in a tag and old stamps are whole."""
    line = submitted(1, "A") + "\n"
    later = submitted(2, "B", at="Nov-21 04:10:00.000") + "\n"
    earlier = submitted(2, "B", at="Nov-21 04:01:00.000")
    for text, missing in (
        (line * 2 + later, False), (line[:60] + later, True), (line[:4] + later, True),
        (line + "\tat some.Clas" + later, True), (line + "\0" * 4096 + later, True),
        (line + "\0" * 3000 + "\n" + later, True),
        (line + "Command error:\n  " + earlier + "\n" + later, False),
        (line + "nested: " + earlier + "\n" + later, False), (line + "Work \0\0 dir\n" + later, False),
        (stamped("nextflow.Nextflow", "INFO", "> " + earlier) + "\n" + later, False),
        # a quotation from a zone to the east: what follows is earlier than what is quoted
        (line + "nested: " + submitted(2, "B", at="Nov-21 09:01:00.000") + "\n" + later, False),
        ("", False),
    ):
        assert bool(read(tmp_path / "l", text).damage) is missing, text
    assert not read(tmp_path / "absent").damage


NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40).filter(str.strip)


@settings(deadline=None)
@given(tags=st.lists(NAMES, min_size=1, max_size=6),
       codes=st.lists(st.sampled_from([0, 1, "-"]), min_size=6, max_size=6))
def test_any_tag(tmp_path_factory: pytest.TempPathFactory, tags: list[str], codes: list[object]):
    """Tags with control characters, line breaks, NUL and CR: each task is told apart, and none is lost."""
    path = tmp_path_factory.mktemp("log") / "nextflow.log"
    names = [f"P ({tag.strip()})" for tag in tags]
    text = [work_dir()]
    for number, (name, code) in enumerate(zip(names, codes, strict=False), 1):
        text += [submitted(number, name, "ab/cdef01"), done(number, name, code, "ab/cdef01")]
    found = read(path, "\n".join([*text, statistics(succeeded=0), ""]))
    assert [task.name for task in found.tasks] == names
    assert [task.dir for task in found.tasks] == [
        logs.task_dir(n, "ab/cdef01") for n in range(1, len(tags) + 1)]
    assert [task.status for task in found.tasks] == [
        "FAILED" if code == 1 else "COMPLETED" for code, _ in zip(codes, tags, strict=False)]
    assert not found.damage
    assert not found.total.unfinished


@settings(deadline=None)
@given(text=st.text(st.characters(codec="utf-8"), max_size=200))
def test_any_text_between_entries(tmp_path_factory: pytest.TempPathFactory, text: str):
    """Whatever a pipeline prints between them, the entries of Nextflow stay what they are."""
    path = tmp_path_factory.mktemp("log") / "nextflow.log"
    found = read(path, "\n".join([
        work_dir(), submitted(1, "A"), stamped("nextflow.Nextflow", "INFO", text), done(1, "A"), ""]))
    assert [(task.name, task.status) for task in found.tasks] == [("A", "COMPLETED")]


def test_abbreviated_loggers(tmp_path: Path):
    """Logback abbreviates packages to their first letters where a name is long."""
    for logger in ("nextflow.processor.TaskProcessor", "n.processor.TaskProcessor", "n.p.TaskProcessor"):
        text = stamped(logger, "INFO", "[ab/cdef01] Cached process > A") + "\n"
        assert len(read(tmp_path / "l", text).tasks) == 1, logger
    for logger in ("x.processor.TaskProcessor", "nextflow.executor.TaskProcessor", "TaskProcessor"):
        text = stamped(logger, "INFO", "[ab/cdef01] Cached process > A") + "\n"
        assert read(tmp_path / "l", text).tasks == [], logger


@pytest.mark.timeout(120)
@pytest.mark.long
def test_a_million_lines(tmp_path: Path, record_property):
    """1,000,000 lines are read, and the next poll reads only the new bytes."""
    path = tmp_path / "l"
    chatter = stamped("nextflow.Session", "DEBUG", "chatter")
    block = "\n".join([submitted(1, "A"), done(1, "A")] + [chatter] * 14)
    with path.open("w") as file:
        for _ in range(62_500):
            file.write(block + "\n")
    lines: list[object] = []
    reader = LogReader(path, Tracker(lines.append).takers)
    start = time.perf_counter()
    size = reader.poll()
    record_property("seconds", time.perf_counter() - start)
    assert size == path.stat().st_size
    with path.open("a") as file:
        file.write(submitted(2, "B") + "\n")
    assert reader.poll() == len(submitted(2, "B")) + 1
    assert len(lines) == 125_000
