"""The files of records: `attempts/<n>/record-<token>.jsonl`.

`token` is that of the lease: each supervisor writes a file of its own, from the start of the log, and the
file with the highest token counts. A line without a line end, which a crash left behind, is ignored.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from nfresume.nextflow.record import End, Line, Sums, beginning, decode, encode
from nfresume.system import regular

_NAME = re.compile(r"record-(\d+)\.jsonl")
_CHUNK = 1 << 20
#: A task of the run may have put a FIFO in its place, which would be waited for.
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC
#: A longer line is none of ours: reading ends there.
_LONGEST = 1 << 26
#: The last line is within this many bytes of the end of a finished record.
_END_BYTES = 1 << 16


def path_of(attempt_dir: Path, token: int) -> Path:
    """The record of the supervisor whose lease has this token."""
    return attempt_dir / f"record-{token}.jsonl"


def paths(attempt_dir: Path) -> list[Path]:
    """The records of an attempt, the one that counts last."""
    try:
        names = os.listdir(attempt_dir)
    except OSError:
        return []
    found = [(int(match[1]), name) for name in names if (match := _NAME.fullmatch(name))]
    return [attempt_dir / name for _, name in sorted(found)]


def end_of(path: Path) -> End | None:
    """The last line of a finished record; None for one that is not finished."""
    try:
        with open(path, "rb", opener=regular.opener) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _END_BYTES))
            data = file.read()
    except OSError:
        return None
    if not data.endswith(b"\n"):
        return None
    line = decode(data[data.rfind(b"\n", 0, -1) + 1:])
    return line if isinstance(line, End) else None


def sums_of(path: Path) -> Sums | None:
    """The sums of a finished record; None if it has none, as those of earlier versions."""
    end = end_of(path)
    if end is None or not end.sums:
        return None
    with open(path, "rb", opener=regular.opener) as file:
        file.seek(end.sums)
        line = decode(file.readline(_LONGEST))
    return line if isinstance(line, Sums) else None


class Writer:
    """Writes one record. Lines are collected until `flush`.

    On a full disk it stops: `broken` is true from then on, and the record never gets its `end`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.broken = False
        self.size = 0  # with what waits
        self._waiting: list[bytes] = []
        self._fd = -1
        try:
            self._fd = os.open(path, _APPEND, 0o644)
        except OSError:
            self.broken = True

    def write(self, line: Line) -> None:
        """Add a line."""
        if not self.broken:
            data = encode(line)
            self.size += len(data)
            self._waiting.append(data)

    def flush(self) -> None:
        """Write the lines that were added."""
        data = b"".join(self._waiting)
        self._waiting.clear()
        while data and not self.broken:
            try:
                data = data[os.write(self._fd, data):]
            except OSError:
                self.broken = True

    def close(self, end: End | None) -> None:
        """Write the end, durably, and close the file. None: the record stays unfinished."""
        if end is not None:
            self.flush()
            if not self.broken:
                self.write(end)
        self.flush()
        if self._fd < 0:
            return
        try:
            os.fsync(self._fd)
        except OSError:
            self.broken = True
        os.close(self._fd)
        self._fd = -1


class Reader:
    """Reads a record that may still grow: each `poll` gives the lines that are new and complete."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0  # where the next line begins
        self._fd = -1

    def raw(self, most: int | None = None) -> Iterator[tuple[int, bytes]]:
        """New complete lines, undecoded, each with its offset; at most about `most` bytes."""
        rest, read = b"", 0
        if self._fd < 0:
            try:
                self._fd = regular.opener(str(self.path), os.O_RDONLY)
            except OSError:
                return
        while chunk := os.pread(self._fd, _CHUNK, self.offset + len(rest)):
            lines = (rest + chunk).split(b"\n")
            rest = lines.pop()
            for line in lines:
                at, self.offset = self.offset, self.offset + len(line) + 1
                yield at, line
            read += len(chunk)
            if len(chunk) < _CHUNK or len(rest) > _LONGEST or (most is not None and read >= most):
                return

    def poll(self) -> Iterator[Line]:
        """New complete lines."""
        for _, data in self.raw():
            if (line := decode(data)) is not None:
                yield line

    def close(self) -> None:
        """Close the file; the next `poll` goes on in it."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):  # nothing was written
                os.close(self._fd)
            self._fd = -1


def lines(path: Path, kinds: Collection[type[Line]] | None = None) -> Iterator[Line]:
    """All complete lines of a record; `kinds`: only those of these kinds, and the others are not decoded."""
    begins = None if kinds is None else tuple(map(beginning, kinds))
    reader = Reader(path)
    try:
        for _, data in reader.raw():
            if (begins is None or data.startswith(begins)) and (line := decode(data)) is not None:
                yield line
    finally:
        reader.close()
