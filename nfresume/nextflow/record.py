"""The record of an attempt: what its tasks did, what it published, how it ended.

It has one line of JSON for each change. A line says all that is known of its task. The last line of a
finished record is its `end`. Lines and fields of a later version are ignored. `nextflow.record_file` has the
files.

Task dirs are relative to the work dir (`ab/cdef...`), so a root may move. Times are milliseconds since 1970.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, ClassVar, NamedTuple

VERSION = 1
_JSON = json.JSONEncoder(separators=(",", ":")).encode
_FROM_JSON = json.JSONDecoder().decode


class Status(StrEnum):
    """The state of a task. STORED: it was skipped, because its results are in its storeDir. ABORTED: it had
    not ended when the run ended."""

    RUNNING = "RUNNING"
    CACHED = "CACHED"
    STORED = "STORED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    ABORTED = "ABORTED"


@dataclass(frozen=True, slots=True)
class Header:
    """The first line. `work` is the work dir."""

    KIND: ClassVar[str] = "record"
    version: int = VERSION
    work: str = ""


class Task(NamedTuple):
    """One task, as it is now.

    `n` counts the tasks of an attempt in order of appearance; `id` is Nextflow's, None for a cached one.
    `dir` is its whole task dir below the work dir, empty while it is not known; `hash` is the short one that
    Nextflow shows, which several tasks may share. `exit` None: no exit status, as for native tasks. `tries`
    counts from 1. `inputs` are (path, size, mtime in ns). `took` is how long a cached task had run in attempt
    `cached_from`. `evidence` is (archive, offset, length) of its files. `memory` is the peak of its
    resident memory in bytes, where a trace has it. `was`: the state before, as in `key`.
    """

    n: int
    name: str
    status: Status
    hash: str = ""
    dir: str = ""
    id: int | None = None
    was: str = ""
    exit: int | None = None
    submitted: int | None = None
    started: int | None = None
    completed: int | None = None
    tries: int = 1
    retried: bool = False
    ignored: bool = False
    error: str = ""
    container: str = ""
    job: str = ""
    inputs: tuple[tuple[str, int, int], ...] = ()
    cached_from: int | None = None
    took: int | None = None
    evidence: tuple[str, int, int] | None = None
    memory: int | None = None

    @property
    def process(self) -> str:
        return self.name.partition(" (")[0]

    @property
    def key(self) -> str:
        """The state with its flags, such as `FAILED retried`."""
        if self.retried or self.ignored:
            return f"{self.status} {'retried' if self.retried else 'ignored'}"
        return self.status

    @property
    def label(self) -> str:
        """What tells it from all others: its whole task dir, or else its short hash."""
        return self.dir or self.hash

    @property
    def milliseconds(self) -> int:
        """From submission to completion, of the original for a cached task; zero if that is not known."""
        if self.took is not None:
            return self.took
        if self.submitted is None or self.completed is None:
            return 0
        return max(0, self.completed - self.submitted)

    @property
    def duration(self) -> timedelta:
        """Its `milliseconds`."""
        return timedelta(milliseconds=self.milliseconds)

    @property
    def submitted_at(self) -> datetime | None:
        return moment(self.submitted)

    @property
    def completed_at(self) -> datetime | None:
        return moment(self.completed)


@dataclass(frozen=True, slots=True)
class Published:
    """A file or folder that was published. `task` is the task dir it comes from, if that is known."""

    KIND: ClassVar[str] = "published"
    target: str
    source: str = ""
    mode: str = ""
    task: str = ""


@dataclass(frozen=True, slots=True)
class Folder:
    """The identity of a folder into which something was published; see `system.filesystems.FolderId`."""

    KIND: ClassVar[str] = "folder"
    path: str
    inode: int
    device: int
    source: str = ""
    filesystem: int = 0


@dataclass(frozen=True, slots=True)
class Outputs:
    """Another folder with results: a storeDir."""

    KIND: ClassVar[str] = "outputs"
    path: str


@dataclass(frozen=True, slots=True)
class Program:
    """A program in a `bin` folder of the pipeline, as it was when the first task could use it."""

    KIND: ClassVar[str] = "program"
    path: str
    size: int
    mtime: int


@dataclass(frozen=True, slots=True)
class Unpublished:
    """Nextflow gave up to publish a file."""

    KIND: ClassVar[str] = "unpublished"
    text: str


@dataclass(frozen=True, slots=True)
class Doubt:
    """Something about the results that cannot be known from the log. `damage`: lines of it are missing."""

    KIND: ClassVar[str] = "doubt"
    text: str
    damage: bool = False


@dataclass(frozen=True, slots=True)
class Executor:
    """An executor of tasks that the run uses, such as `local` or `slurm`."""

    KIND: ClassVar[str] = "executor"
    name: str


@dataclass(frozen=True, slots=True)
class Job:
    """A job of a cluster, of one task (`task` is its task dir) or of an array of tasks (`task` is empty)."""

    KIND: ClassVar[str] = "job"
    job: str
    name: str
    task: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """An error.

    `by` is `engine`, `abort` (Nextflow says only why it aborts), or `pipeline` (its log.error). `lock`:
    another Nextflow holds the session's cache.
    """

    KIND: ClassVar[str] = "error"
    text: str
    by: str = "engine"
    lines: tuple[str, ...] = ()
    lock: bool = False


@dataclass(frozen=True, slots=True)
class Statistics:
    """Nextflow's own counts, which it writes when a workflow has ended, successfully or not."""

    KIND: ClassVar[str] = "statistics"
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Sums:
    """The line before the end: what most pages of an attempt show, so that they need not read all of it.

    `processes` are the values of each `summary.Progress`. `failed` are the first tasks that failed for good,
    without their inputs.
    """

    KIND: ClassVar[str] = "sums"
    processes: tuple[tuple[Any, ...], ...] = ()
    published: int = 0
    failed: tuple[Task, ...] = ()


@dataclass(frozen=True, slots=True)
class End:
    """The last line.

    `took`: the time that completed and cached tasks took, in milliseconds. `sums`: where in the file the
    line with the sums begins; 0 if there is none.
    """

    KIND: ClassVar[str] = "end"
    at: int
    tasks: int = 0
    took: int = 0
    sums: int = 0


Line = (Header | Task | Published | Folder | Outputs | Program | Unpublished | Doubt | Executor | Job
        | Failure | Statistics | Sums | End)
_KINDS: dict[str, type[Any]] = {kind.KIND: kind for kind in (
    Header, Published, Folder, Outputs, Program, Unpublished, Doubt, Executor, Job, Failure, Statistics, Sums,
    End)}
_FIELDS = {kind: tuple((f.name, f.default) for f in fields(kind)) for kind in _KINDS.values()}
_TASK = "task"
_TASK_LINE = b'{"kind":"task","n":'
#: A quote inside a value has a backslash before it.
_WAS = re.compile(rb',"was":"[A-Z a-z]*"')
_STATUS = {str(status): status for status in Status}
_TASK_FIELDS = tuple((name, Task._field_defaults.get(name)) for name in Task._fields)
_OPTIONAL = _TASK_FIELDS[2:]  # and the status, which is always there


def moment(milliseconds: int | None) -> datetime | None:
    """Milliseconds since 1970 as an aware datetime in UTC."""
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)


def encode(line: Line) -> bytes:
    """A line as it is written; values that are the default are left out."""
    found: dict[str, Any]
    if isinstance(line, Task):
        found = _values(line)
    else:
        found = {"kind": line.KIND} | {name: value for name, default in _FIELDS[type(line)]
                                       if (value := getattr(line, name)) != default}
    if isinstance(line, Sums):
        found["failed"] = [_values(task) for task in line.failed]
    return _JSON(found).encode() + b"\n"


def _values(task: Task) -> dict[str, Any]:
    found: dict[str, Any] = {"kind": _TASK}
    for (name, default), value in zip(_TASK_FIELDS, task, strict=True):
        if value is not default and value != default:
            found[name] = value
    return found


def beginning(kind: type[Line]) -> bytes:
    """How `encode` begins a line of this kind."""
    return b'{"kind":%s' % _JSON(getattr(kind, "KIND", _TASK)).encode()


def decode(data: bytes | str) -> Line | None:
    """A line as it was written; None when it is incomplete, or of a later version."""
    try:
        found = _FROM_JSON(data if isinstance(data, str) else data.decode())
        if found["kind"] == _TASK:
            return _task(found)
        kind = _KINDS[found["kind"]]
        values = {name: found[name] for name, _ in _FIELDS[kind] if name in found}
        if kind is Failure:
            values["lines"] = tuple(values.get("lines", ()))
        if kind is Sums:
            values["processes"] = tuple(map(tuple, values.get("processes", ())))
            values["failed"] = tuple(map(_task, values.get("failed", ())))
        line: Line = kind(**values)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return line


def latest(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Lines of a record without those that a later one of the same task replaces, in order of the last ones.

    `was` of a line that stays is the state before the lines that it replaces: their sum stays the same.
    """
    tasks: dict[bytes, bytes] = {}
    for data in lines:
        if not data.startswith(_TASK_LINE):
            yield data
            continue
        n = data[len(_TASK_LINE):data.find(b",", len(_TASK_LINE))]
        before = tasks.pop(n, None)
        if before is not None and (match := _WAS.search(data)):
            was = _WAS.search(before)
            data = data[:match.start()] + (was[0] if was else b"") + data[match.end():]
        tasks[n] = data
    yield from tasks.values()


def _task(found: dict[str, Any]) -> Task:
    """Raises KeyError when it has no number, name or status. Fields of a later version are left out."""
    found["status"] = _STATUS[found["status"]]
    if "inputs" in found:
        found["inputs"] = tuple((path, size, mtime) for path, size, mtime in found["inputs"])
    if "evidence" in found:
        found["evidence"] = tuple(found["evidence"])
    get = found.get
    return Task._make([found["n"], found["name"], *[get(name, default) for name, default in _OPTIONAL]])
