"""Nextflow's log, read as a stream of entries.

An entry is a line with a stamp, `Nov-26 14:53:39.136 [thread] LEVEL logger - message`, and the lines without
one that follow it: a tag or an error may hold line breaks. What an entry says counts only from the logger and
at the level from which Nextflow says it. So text that a pipeline prints is not taken for it. The loggers and
the beginnings of messages are the same from 24.04 to 26.04; a Python workflow's head writes the same lines.

Each poll reads only new bytes, also after a rotation.
"""

from __future__ import annotations

import functools
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from io import FileIO
from pathlib import Path
from typing import Protocol

from nfresume.nextflow.stamps import MONTHS, UNKNOWN, Stamps
from nfresume.system import regular

_CHUNK = 1 << 20
#: A longer line, and more of one entry, is cut.
_LONGEST = 1 << 19
_MOST_LINES = 2000
#: A stamp that is this much in the future is not of this log; seconds.
_SKEW = 5.0

#: `Nov`, `nov.`, `11\u6708` or `thg 11`, by the locale.
_MONTH = rb"(?:[A-Z][a-z]{2}|[^\s\[\d:-][^\[\n\d:-]{0,15}\d{0,2}|\d{1,2}[^\s\[\d:-]{1,4})"
_CLOCK = rb"-\d\d \d\d:\d\d:\d\d\.\d{3}"
_LEVEL = rb"((?:TRACE|DEBUG|INFO|WARN|ERROR) {1,2}\S+) - "
_HEADER = re.compile(rb"(" + _MONTH + _CLOCK + rb") \[([^\]]{0,200})\] " + _LEVEL)
#: A header that is not at the start of a line: the end of the line before it was lost.
_EMBEDDED = re.compile(rb"(" + _CLOCK + rb") \[[^\]\n]{0,200}\] " + _LEVEL)
#: So many NULs in a row are lost bytes, not text.
_HOLE = b"\0" * 512

#: Logger classes by what they are called here. Logback abbreviates packages: n.processor.TaskPollingMonitor.
_CLASSES = {
    ("nextflow", "Session"): "session",
    ("nextflow", "processor", "TaskProcessor"): "processor",
    ("nextflow", "processor", "TaskPollingMonitor"): "monitor",
    ("nextflow", "processor", "LocalPollingMonitor"): "monitor",
    ("nextflow", "processor", "ParallelPollingMonitor"): "monitor",
    ("nextflow", "processor", "PublishDir"): "publisher",
    ("nextflow", "trace", "WorkflowStatsObserver"): "statistics",
    ("nextflow", "executor", "Executor"): "executor",
    ("nextflow", "executor", "GridTaskHandler"): "grid",
    ("nextflow", "Nextflow"): "pipeline",
    ("nextflow", "script", "BaseScript"): "pipeline",
    ("nextflow", "script", "WorkflowMetadata"): "handlers",
    ("nfresume", "tasks"): "head",
}
#: What is read, by the kind of logger and the level: messages that begin so.
_WANTED: dict[tuple[str, bytes], tuple[bytes, ...]] = {
    ("session", b"INFO"): (b"[",),
    ("session", b"DEBUG"): (b"Session aborted -- Cause: ", b"Work-dir: "),
    ("processor", b"INFO"): (b"[",),
    ("processor", b"DEBUG"): (b"Handling unexpected condition for",),
    ("monitor", b"DEBUG"): (b"Task completed > ", b"Task timed-out > "),
    ("publisher", b"TRACE"): (b"publishing file: ",),
    ("publisher", b"WARN"): (b"Failed to publish file: ",),
    ("statistics", b"DEBUG"): (b"Workflow completed > WorkflowStats[",),
    ("executor", b"DEBUG"): (b"[warm up] executor > ",),
    ("grid", b"DEBUG"): (b"[",),
    ("head", b"INFO"): (b"[",),
    ("head", b"DEBUG"): (b"Task completed > ", b"Workflow completed > WorkflowStats[",
                         b"[warm up] executor > ", b"[SLURM] submitted "),
    ("publisher", b"ERROR"): (b"Failed to publish file: ",),
    **{(kind, b"ERROR"): (b"",) for kind in
       ("session", "processor", "monitor", "grid", "engine", "pipeline", "head")},
}


@functools.lru_cache(maxsize=1024)
def _wanted(head: bytes) -> tuple[str, tuple[bytes, ...]]:
    """The kind of an entry, and the beginnings of its messages that are read.

    Any error but a publisher's is an `error`, or a `pipeline_error`. What the updater of plugins says is only
    why it found nothing; the error that stops a run follows. `head` is level and logger, such as
    `DEBUG n.processor.TaskPollingMonitor`.
    """
    level, logger = head.split()
    *packages, last = logger.decode("utf-8", "replace").split(".")
    if "update" in packages:
        return "", ()
    kind = "engine" if packages and packages[0] in ("n", "nextflow") else ""
    for (*full, name), known in _CLASSES.items():
        if name == last and len(full) == len(packages) and all(
                whole == short or (len(short) == 1 and whole.startswith(short))
                for whole, short in zip(full, packages, strict=True)):
            kind = known
    wanted = _WANTED.get((kind, level), ())
    if level == b"ERROR" and kind != "publisher":
        kind = "pipeline_error" if kind == "pipeline" else "error"
    return kind, wanted


class Taker(Protocol):
    """Takes one entry: its time in milliseconds since 1970, its message, and the name of its thread.

    `suspect`: its stamp is out of order, so it may be a quotation of another log.
    """

    def __call__(self, at: int, message: str, suspect: bool, thread: bytes, /) -> None: ...


class LogReader:
    """Follows one log file, and gives each entry to the taker of its kind.

    Kinds: session, processor, monitor, publisher, statistics, executor, grid, head, error, pipeline_error.
    `damage` says where lines are missing. `started` tells when Nextflow was started, in POSIX seconds.
    """

    def __init__(
        self, path: Path, takers: Mapping[str, Taker], started: Callable[[], float | None] = lambda: None
    ) -> None:
        self.path = path
        self._takers = takers
        self.damage: list[str] = []
        self._started = started
        self._file: FileIO | None = None
        self._rest = b""
        self._skipping = False  # the rest of a line that was too long
        self._open: tuple[Taker, int, bool, bytes] | None = None  # the entry that may still go on
        self._message = b""  # its first line
        self._more: list[bytes] = []
        self._clock = _Clock()
        self._torn: int | None = None  # the time of a header inside a line

    def poll(self, most: int | None = None) -> int:
        """Read to the end of the file, but no incomplete last line; at most about `most` bytes.

        Returns how many bytes were new. The last entry is given once another one follows, or when a later
        poll finds nothing new: it may still go on in further lines.
        """
        self._clock.set_now(time.time())
        read = 0
        for size, lines in self._new_lines():
            self._entries(lines)
            read += size
            if most is not None and read >= most:
                break
        if read == 0:
            self._flush()
        return read

    def close(self) -> None:
        """Read the rest, also a last line without a line end, and close the file."""
        self._clock.set_now(time.time())
        for _, lines in self._new_lines():
            self._entries(lines)
        if self._rest and not self._skipping:
            self._entries([self._rest])
        self._rest = b""
        self._flush()
        if self._torn is not None:
            self._missing()
        if self._file:
            self._file.close()
            self._file = None

    # -- bytes ----------------------------------------------------------------------------------

    def _new_lines(self) -> Iterator[tuple[int, list[bytes]]]:
        if self._file is None and not self._opened():
            return
        yield from self._drain()
        if self._rotated() and self._opened():
            yield from self._drain()

    def _opened(self) -> bool:
        try:
            file = FileIO(str(self.path), opener=regular.opener)
        except (FileNotFoundError, ValueError):
            return False
        if self._file:
            self._file.close()
        self._file, self._rest, self._skipping = file, b"", False
        if self._clock.stamps is None:
            self._clock.stamps = Stamps(self._started(), os.fstat(file.fileno()).st_mtime)
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

    def _drain(self) -> Iterator[tuple[int, list[bytes]]]:
        assert self._file is not None
        while chunk := self._file.read(_CHUNK):
            if _HOLE in chunk:
                self._missing()
            lines = (self._rest + chunk).split(b"\n")
            self._rest = lines.pop()
            if self._skipping and lines:
                del lines[0]
                self._skipping = False
            if len(self._rest) > _LONGEST:
                if not self._skipping:
                    lines.append(self._rest[:_LONGEST])
                self._rest, self._skipping = b"", True
            yield len(chunk), lines

    # -- lines ----------------------------------------------------------------------------------

    def _entries(self, lines: list[bytes]) -> None:
        """The hot loop: it runs for each line, so most stamps are only compared as text."""
        header, embedded, clock, takers = _HEADER.match, _EMBEDDED.search, self._clock, self._takers
        for line in lines:
            found = header(line)
            if found is None or (in_order := clock.in_order(found[1])) is None:
                if self._open is not None and len(self._more) < _MOST_LINES:
                    self._more.append(line)
                if inside := embedded(line):
                    self._see_torn(line, inside)
                continue
            if self._open is not None:
                self._flush()
            if self._torn is not None and in_order:
                self._look_at_torn(found[1])
            kind, beginnings = _wanted(found[3])
            end = found.end()
            if beginnings and line.startswith(beginnings, end) and (taker := takers.get(kind)):
                self._open = taker, clock.milliseconds(found[1], in_order=in_order), not in_order, found[2]
                self._message = line[end:]
            if inside := embedded(line, end):
                self._see_torn(line, inside)

    def _flush(self) -> None:
        """Give the open entry: it is over."""
        if self._open is None:
            return
        taker, at, suspect, thread = self._open
        self._open = None
        if self._more:
            self._message = b"\n".join([self._message, *self._more])[:_LONGEST]
            self._more.clear()
        taker(at, self._message.decode("utf-8", "surrogateescape"), suspect, thread)

    # -- damage ---------------------------------------------------------------------------------

    def _see_torn(self, line: bytes, inside: re.Match[bytes]) -> None:
        """A full disk cuts a line off, and the next one that fits follows directly.

        A pipeline that quotes another log does the same. But such a stamp is of an earlier time than ours.
        """
        month = line[max(0, inside.start() - 3):inside.start()]
        stamp = (month if month in MONTHS else UNKNOWN) + inside[1]
        if self._clock.is_next(stamp):
            self._torn = self._clock.milliseconds(stamp, in_order=False)

    def _look_at_torn(self, stamp: bytes) -> None:
        """The next entry follows what was inside the line in time: so that was an entry, and not quoted."""
        assert self._torn is not None
        if self._torn <= self._clock.milliseconds(stamp, in_order=True):
            self._missing()
        self._torn = None

    def _missing(self) -> None:
        self._torn = None
        if not self.damage:
            self.damage.append(f"{self.path}: lines of this log are missing (was its disk full?)")


class _Clock:
    """The time up to which a log was read. Stamps of one minute are compared as text, which is fast."""

    def __init__(self) -> None:
        self.stamps: Stamps | None = None
        self._newest = b""  # the newest stamp
        self._minute = -1  # its minute, in milliseconds since 1970
        self._latest = b""  # up to this stamp of the same minute text can be compared
        self._bound = 0  # now, with some tolerance

    def set_now(self, now: float) -> None:
        """Stamps after `now`, in POSIX seconds, are not of this log."""
        self._bound, self._latest = int((now + _SKEW) * 1000), b""

    def in_order(self, stamp: bytes) -> bool | None:
        """True when a stamp is not before the newest one, which it is now. None: it is no date."""
        if self._newest <= stamp <= self._latest:
            self._newest = stamp
            return True
        at = self._convert(stamp)
        if at is None or not self._is_next(at):
            return None if at is None else False
        assert self.stamps is not None
        self.stamps.advance(at)
        self._newest, self._minute = stamp, at // 60_000 * 60_000
        end = min(self._minute + 59_999, self._bound)
        self._latest = stamp[:-6] + f"{end % 60_000 // 1000:02d}.{end % 1000:03d}".encode()
        return True

    def is_next(self, stamp: bytes) -> bool:
        """True when a stamp is not before the newest one, and not in the future."""
        at = self._convert(stamp)
        return at is not None and self._is_next(at)

    def milliseconds(self, stamp: bytes, *, in_order: bool) -> int:
        """A stamp that is a date, in milliseconds since 1970; `in_order`: it is the newest one."""
        at = _within_minute(stamp, self._minute) if in_order else self._convert(stamp)
        assert at is not None
        return at

    def _is_next(self, at: int) -> bool:
        newest = _within_minute(self._newest, self._minute) if self._newest else 0
        return newest <= at <= self._bound

    def _convert(self, stamp: bytes) -> int | None:
        assert self.stamps is not None
        return self.stamps.milliseconds(stamp.decode("utf-8", "replace"))


def _within_minute(stamp: bytes, minute: int) -> int:
    return minute + int(stamp[-6:-4]) * 1000 + int(stamp[-3:])
