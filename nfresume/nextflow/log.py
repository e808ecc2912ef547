"""Nextflow's log, read as a stream: each poll reads only new bytes and complete lines, also after a rotation.

The lines that matter are the same from 22.10 to 26.04 (see the patterns). Tasks and results are read from the
log, because every version and every executor writes it.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from nfresume.domain.executions import TaskCounts

_CHUNK = 1 << 20
_LEAP_YEAR = timedelta(days=366)

_TASK = re.compile(r"\[([0-9a-f]{2}/[0-9a-f]{6})\] (Submitted|Re-submitted|Cached) process > (.+)$")
_STORED = re.compile(r"\[skipping\] Stored process > (.+)$")
_DONE = re.compile(
    r"Task completed > TaskHandler\[.*?name: (?P<name>.+); status: (?P<status>\w+); exit: (?P<exit>\S+); "
    r"error: (?P<error>.*?); .*?workDir: (?P<work_dir>.*?)(?: started: .*)?\]$"
)
_BLAMED = re.compile(r"Error executing process > '(.+)'$|Process `(.+?)` ")
_NOTE = re.compile(r"\[([0-9a-f]{2}/[0-9a-f]{6})\] NOTE: .* -- (Error is ignored|Execution is retried)")
_PUBLISH = "publishing file: "
#: A file name may contain an arrow itself; a target always starts with a slash or a scheme.
_ARROW = re.compile(r" -\[[A-Z_]+\]-> (?=/|[a-z0-9]+://)")
_STAMP = re.compile(r"([A-Z][a-z]{2}-\d{2} \d{2}:\d{2}:\d{2}\.\d{3}) \[")
_EXECUTOR = re.compile(r"\[warm up\] executor > (\S+)")
_JOB = re.compile(r"\[[A-Z]+\] submitted process .* > jobId: ([^;\s]+)")
_STATS = re.compile(r"WorkflowStats\[succeededCount=(\d+);")
#: The start of a line without its month's name: a pattern that begins with a literal is searched fast.
_BEGINNING = re.compile(rb"-\d{2} \d{2}:\d{2}:\d{2}\.\d{3} \[[^\]\n]+\] [A-Z]+ ")
#: Only lines with one of these can match a pattern; checked first, because it is faster.
_NEWS = ("process > ", "Task completed > ", "] NOTE: ", "publishing file: ", " ERROR ", "ERROR ~",
         "Failed to publish file", "[warm up]", "> jobId: ", "WorkflowStats[", "Execution complete",
         "Unable to acquire lock")


@dataclass(slots=True)
class Task:
    """One task of this attempt."""

    hash: str  # ab/cdef01
    name: str  # as Nextflow shows it: PROCESS (tag)
    cached: bool = False
    exit: str | None = None  # None until completed
    failed: bool = False
    ignored: bool = False
    retried: bool = False
    work_dir: str | None = None
    submitted_at: datetime | None = None
    completed_at: datetime | None = None

    @property
    def process(self) -> str:
        return self.name.split(" (", 1)[0]

    @property
    def running(self) -> bool:
        return not self.cached and self.exit is None and not self.failed

    @property
    def succeeded(self) -> bool:
        return self.exit is not None and not self.failed

    @property
    def duration(self) -> timedelta:
        """From submission to completion; zero when the log does not have both times."""
        if self.submitted_at is None or self.completed_at is None:
            return timedelta()
        took = self.completed_at - self.submitted_at
        return took if took >= timedelta() else took + _LEAP_YEAR  # across new year


@dataclass
class RunLog:
    """What was read from the log so far. `tasks` by hash, in order of appearance."""

    tasks: dict[str, Task] = field(default_factory=dict)
    stored: int = 0
    published: dict[str, None] = field(default_factory=dict)  # targets, in order
    unreadable: list[str] = field(default_factory=list)  # publish lines that name no target
    publish_warnings: list[str] = field(default_factory=list)
    error: list[str] = field(default_factory=list)
    executors: set[str] = field(default_factory=set)
    jobs: dict[str, str] = field(default_factory=dict)
    completed: bool = False  # the workflow ran to its end, successfully or not
    succeeded: int = 0  # succeeded tasks, by Nextflow's own count at the end
    lock_conflict: bool = False

    @property
    def counts(self) -> TaskCounts:
        tasks = self.tasks.values()
        run = [t for t in tasks if not t.cached]
        return TaskCounts(
            submitted=len(run),
            cached=sum(t.cached for t in tasks) + self.stored,
            succeeded=sum(t.succeeded for t in run),
            failed=sum(t.failed for t in run),
            ignored=sum(t.ignored for t in run),
            retried=sum(t.retried for t in run),
        )

    @property
    def whole(self) -> bool:
        """True when the log has its end and all completions that the end counts. A full disk loses lines."""
        return self.completed and sum(t.exit is not None for t in self.tasks.values()) >= self.succeeded

    @property
    def unfinished(self) -> list[Task]:
        """Tasks that were submitted and not seen to complete."""
        return [t for t in self.tasks.values() if t.running]


class LogReader:
    """Follows one log file; `run` has what was read so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run = RunLog()
        self._file: BinaryIO | None = None
        self._rest = b""
        self._in_error = False
        # Tasks without an exit status, by name: native `exec:` tasks, and lost tasks, which an error names.
        self._without_status: dict[str, list[Task]] = {}

    def poll(self) -> int:
        """Read to the end of the file, but no incomplete last line; returns how many lines mattered."""
        news = 0
        for line in self._new_lines():
            news += self._take(line)
        return news

    def close(self) -> None:
        """Read the rest, also a last line without a line end, and close the file."""
        self.poll()
        if self._rest:
            self._take(self._rest.decode("utf-8", "replace"))
            self._rest = b""
        if self._file:
            self._file.close()
            self._file = None

    def _new_lines(self) -> Iterator[str]:
        if self._file is None and not self._open():
            return
        yield from self._drain()
        if self._rotated() and self._open():
            yield from self._drain()

    def _open(self) -> bool:
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return False
        if self._file:
            self._file.close()
        self._file, self._rest = file, b""
        return True

    def _rotated(self) -> bool:
        """True when another file is at our path, or our file was truncated."""
        assert self._file is not None
        try:
            there = self.path.stat()
        except FileNotFoundError:
            return False
        here = os.fstat(self._file.fileno())
        return there.st_ino != here.st_ino or there.st_size < self._file.tell()

    def _drain(self) -> Iterator[str]:
        assert self._file is not None
        while chunk := self._file.read(_CHUNK):
            lines = (self._rest + chunk).split(b"\n")
            self._rest = lines.pop()
            for line in lines:
                yield line.decode("utf-8", "replace")

    def _take(self, line: str) -> bool:
        if self._in_error:
            if not _STAMP.match(line):
                if len(self.run.error) < 200:
                    self.run.error.append(line)
                return False
            self._in_error = False
        if not any(word in line for word in _NEWS):
            return False
        return self._news(line)

    def _news(self, line: str) -> bool:
        run = self.run
        if found := _TASK.search(line):
            self._seen(found[1], found[2], found[3], line)
        elif found := _STORED.search(line):
            run.stored += 1
        elif "Task completed > " in line:
            self._completed(line)
        elif found := _NOTE.search(line):
            self._noted(found[1], found[2])
        elif _PUBLISH in line:
            self._published(line)
        elif "Failed to publish file" in line:
            run.publish_warnings.append(line.split(" - ", 1)[-1])
        elif found := _EXECUTOR.search(line):
            run.executors.add(found[1])
        elif found := _JOB.search(line):
            run.jobs[found[1]] = line.split(" > ", 1)[0].rsplit("process ", 1)[-1]
        elif found := _STATS.search(line):
            run.completed, run.succeeded = True, int(found[1])
        elif " ERROR " in line:
            self._error(line)
        else:
            return False
        return True

    def _seen(self, task_hash: str, verb: str, name: str, line: str) -> None:
        task = Task(task_hash, name, cached=verb == "Cached", submitted_at=_stamp(line))
        self.run.tasks.setdefault(task_hash, task)

    def _completed(self, line: str) -> None:
        if not (found := _DONE.search(line)):
            return
        work_dir = found["work_dir"]
        task_hash = "/".join(work_dir.rstrip("/").rsplit("/", 2)[-2:])[:9]
        task = self.run.tasks.get(task_hash)
        if task is None:  # another thread writes the submission line, perhaps later
            task = self.run.tasks[task_hash] = Task(task_hash, found["name"])
        task.exit, task.work_dir, task.completed_at = found["exit"], work_dir, _stamp(line)
        task.failed = found["exit"] not in ("0", "-") or found["error"] not in ("-", "null")
        if found["exit"] == "-":
            self._without_status.setdefault(task.name, []).append(task)

    def _noted(self, task_hash: str, note: str) -> None:
        if task := self.run.tasks.get(task_hash):
            task.failed = True
            if note == "Error is ignored":
                task.ignored = True
            else:
                task.retried = True

    def _published(self, line: str) -> None:
        """Store all possible targets of a line; materialising skips those that do not exist."""
        arrows = list(_ARROW.finditer(line))
        self.run.published.update(dict.fromkeys(line[a.end():] for a in arrows))
        if not arrows:  # the file name contains a line break
            self.run.unreadable.append(line.split(_PUBLISH, 1)[1])

    def _error(self, line: str) -> None:
        message = line.split(" - ", 1)[-1]
        if "Unable to acquire lock" in line:
            self.run.lock_conflict = True
        if found := _BLAMED.match(message):
            for task in self._without_status.pop(found[1] or found[2], ()):
                task.failed = True
        if self.run.error or ".update." in line.partition(" - ")[0]:
            return  # the first error is the cause of the later ones; a plugin may be found elsewhere
        self.run.error.append(message)
        self._in_error = True


def _stamp(line: str) -> datetime | None:
    """The time of a line. The log has no year, so only differences are meaningful."""
    if not (found := _STAMP.match(line)):
        return None
    text = found[1]
    return _whole_second(text[:15]) + timedelta(milliseconds=int(text[16:]))


@functools.lru_cache(maxsize=4)
def _whole_second(text: str) -> datetime:
    return datetime.strptime(f"2000-{text}", "%Y-%b-%d %H:%M:%S").replace(tzinfo=UTC)  # 2000 is a leap year


def has_gaps(path: Path) -> bool:
    """True when lines are missing in the middle of a log; False also when there is no log.

    A full disk leaves a partial line directly followed by the next line that fitted, or a run of NUL bytes.
    Lines that an error report quotes are indented by spaces and do not count.
    """
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                if _has_gap(chunk + file.readline()):
                    return True
    except FileNotFoundError:
        pass
    return False


def _has_gap(lines: bytes) -> bool:
    for found in _BEGINNING.finditer(lines):
        at = found.start() - len("Nov")
        if at > 0 and lines[at - 1:at] != b"\n":
            line = lines.rfind(b"\n", 0, at) + 1
            if lines[line:line + 1] != b" ":
                return True
    return b"\0" in lines


def read(path: Path) -> RunLog:
    """Read the whole log at once; a missing file gives an empty RunLog."""
    reader = LogReader(path)
    reader.close()
    return reader.run
