"""The small files of tasks, kept after their task dirs are gone: scripts, output, exit status.

They are in one archive of an attempt, `attempts/<n>/tasks-<token>.tar.gz`. It has one gzip member for each
task, which holds a part of a tar file. So `tar -xzf` unpacks all of it, and one task is read by one seek.

A task may have put anything into its task dir. So only regular files are read, and no link is followed.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import io
import os
import re
import stat
import tarfile
import threading
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nfresume.nextflow import metrics
from nfresume.system import descriptors, regular

#: The files that are kept.
FILES = (".command.sh", ".command.run", ".command.out", ".command.err", ".command.log", ".exitcode",
         metrics.FILE)
#: Of a longer file its beginning and its end are kept, half of this each.
MOST_BYTES = 64 * 1024
_CHUNK = 1 << 20
#: The files of one task that are kept take less, packed or not.
_MOST_OF_A_TASK = 1 << 20

#: A task of the run may have put a FIFO in its place, which would be waited for.
_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_BLOCK = 512
_TASK_DIR = re.compile(r"[0-9a-f]{2}/[0-9a-f]{2,62}")


@dataclass(frozen=True)
class Kept:
    """What is kept of one file. `mtime` is in seconds."""

    name: str
    data: bytes
    mtime: int


@contextmanager
def task_dir(work_fd: int, name: str) -> Iterator[int]:
    """A descriptor of a task dir such as `ab/cdef...`, opened without following a link. Raises OSError."""
    if not _TASK_DIR.fullmatch(name):
        raise OSError(errno.EINVAL, f"not the name of a task dir: {name!r}")
    with descriptors.below(work_fd, name.split("/")) as fd:
        yield fd


def read(folder_fd: int, name: str, most: int = MOST_BYTES) -> Kept | None:
    """A regular file; of a longer one its beginning and its end. None: there is no regular file."""
    try:
        fd = os.open(name, _FILE, dir_fd=folder_fd)
    except OSError:
        return None
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            return None
        if found.st_size <= most:
            data = os.pread(fd, most, 0)
        else:
            half, left_out = most // 2, found.st_size - most
            data = b"%s\n[nfresume: %d bytes are left out here]\n%s" % (
                os.pread(fd, half, 0), left_out, os.pread(fd, half, found.st_size - half))
    except OSError:
        return None
    finally:
        os.close(fd)
    return Kept(name, data, int(found.st_mtime))


def lines(folder_fd: int, name: str, wanted: re.Pattern[bytes]) -> Iterator[str]:
    """The lines of a regular file in which `wanted` is found, however long the file is."""
    with contextlib.suppress(OSError), os.fdopen(os.open(name, _FILE, dir_fd=folder_fd), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return
        rest = b""
        while chunk := file.read(_CHUNK):
            whole, _, rest = (rest + chunk).rpartition(b"\n")
            if len(rest) >= _CHUNK:  # a line without an end is looked at in pieces
                whole, rest = whole + b"\n" + rest, b""
            yield from _found(whole, wanted)
        yield from _found(rest, wanted)


def _found(data: bytes, wanted: re.Pattern[bytes]) -> Iterator[str]:
    if wanted.search(data):
        yield from (line.decode("utf-8", "replace") for line in data.split(b"\n") if wanted.search(line))


def files_of(folder_fd: int) -> list[Kept]:
    """The files of a task dir that are kept."""
    return [kept for name in FILES if (kept := read(folder_fd, name)) is not None]


def pack(name: str, files: Iterable[Kept]) -> bytes:
    """One member of an archive. `name` is the task dir's, such as `ab/cdef...`."""
    parts = []
    for kept in files:
        info = tarfile.TarInfo(f"{name}/{kept.name}")
        info.size, info.mtime, info.mode = len(kept.data), kept.mtime, 0o644
        parts += [info.tobuf(tarfile.GNU_FORMAT), kept.data, b"\0" * (-len(kept.data) % _BLOCK)]
    return gzip.compress(b"".join(parts), 6, mtime=0)


class Archive:
    """The archive of one attempt that a supervisor writes; its file is made with the first member.

    Threads share it. On a full disk it takes nothing more.
    """

    def __init__(self, attempt_dir: Path, token: int) -> None:
        self.path = attempt_dir / f"tasks-{token}.tar.gz"
        self._lock = threading.Lock()
        self._fd = -1
        self._size = 0
        self._broken = False

    def add(self, member: bytes) -> tuple[str, int, int] | None:
        """Append a member; returns the archive's name, offset and length. None: it was not written."""
        with self._lock:
            if self._broken or not self._opened():
                return None
            offset, rest = self._size, member
            try:
                while rest:
                    rest = rest[os.pwrite(self._fd, rest, self._size):]
                    self._size = offset + len(member) - len(rest)
            except OSError:
                self._broken = True
                return None
            return self.path.name, offset, len(member)

    def _opened(self) -> bool:
        if self._fd < 0:
            try:
                self._fd = os.open(self.path, _NEW, 0o644)
            except OSError:
                self._broken = True
        return self._fd >= 0

    def close(self) -> None:
        """End the tar file, put it on disk, and close it."""
        if self._fd < 0:
            return
        self.add(gzip.compress(b"\0" * 2 * _BLOCK, mtime=0))
        try:
            os.fsync(self._fd)
        except OSError:
            self._broken = True
        os.close(self._fd)
        self._fd = -1


def unpack(attempt_dir: Path, evidence: tuple[str, int, int], name: str) -> bytes | None:
    """One file of a task from an archive of this attempt; None: it has none, or the archive is damaged."""
    archive, offset, length = evidence
    if "/" in archive:
        return None
    try:
        with open(attempt_dir / archive, "rb", opener=regular.opener) as file:
            file.seek(offset)
            data = regular.unpacked(file.read(max(0, min(length, _MOST_OF_A_TASK))), _MOST_OF_A_TASK)
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            for member in tar:
                if member.name.rpartition("/")[2] == name and (found := tar.extractfile(member)) is not None:
                    return found.read()
    except (OSError, EOFError, zlib.error, tarfile.TarError, ValueError):
        return None
    return None
