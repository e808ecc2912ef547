"""Measure a work dir, with many directories in parallel.

Symlinks are not followed and other file systems are not entered. A file with several hard links counts once,
for the first task dir by name. Sizes are kept by task dir, so that they can be joined with the trace.
Nextflow never writes to a finished task dir. So a task dir that was measured after it finished, and whose
mtime is unchanged, is not scanned again (see `sizes`).
"""

from __future__ import annotations

import os
import re
import stat
import threading
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path

from nfresume.domain.costs import DATA_STEP, OBJECT_BYTES, metered_bytes
from nfresume.storage.workers import Pace, WorkerPool
from nfresume.system import descriptors

_PREFIX = re.compile(r"[0-9a-f]{2}")
_TASK = re.compile(r"[0-9a-f]{30}")
_LONGEST_PATH = 4000
_KIND = 0o170000
#: A look that takes so long waited for a server. So many entries are taken in one turn.
_QUICK_SECONDS = 0.0002
_IN_A_TURN = 200


@dataclass
class Size:
    """`bytes`: apparent size of all data. `disk_bytes`: allocated bytes. `metered`: bytes that EFS would bill
    (`domain.costs.metered_bytes`). `files`: everything but directories. `unreadable`: directories that could
    not be listed."""

    bytes: int = 0
    disk_bytes: int = 0
    metered: int = 0
    files: int = 0
    directories: int = 0
    unreadable: int = 0

    def add(self, other: Size, sign: int = 1) -> None:
        """Add another size; with sign -1, subtract it."""
        self.bytes += sign * other.bytes
        self.disk_bytes += sign * other.disk_bytes
        self.metered += sign * other.metered
        self.files += sign * other.files
        self.directories += sign * other.directories
        self.unreadable += sign * other.unreadable


@dataclass
class Part:
    """One task dir (`ab/cdef...`), or one other entry of the work dir, such as `(conda)`.

    `inodes` is a flat list of (inode, apparent bytes, disk bytes) of the files that another task may
    hard-link. `linked` are the inodes that had several names when they were scanned.
    """

    name: str
    mtime_ns: int = 0
    size: Size = field(default_factory=Size)
    inodes: array[int] = field(default_factory=lambda: array("Q"))
    linked: set[int] = field(default_factory=set)
    finished: bool = False
    pending: int = 0


@dataclass
class Measurement:
    """`sizes` by name of part, and their sum `total`; `parts` are input for the next measurement.

    `scanned`: how many task dirs were scanned; the others were known. `partial`: the scan was stopped, or a
    directory could not be read.
    """

    total: Size
    sizes: dict[str, Size]
    parts: dict[str, Part]
    scanned: int
    partial: bool


def measure(
    work: Path, others: Iterable[Path] = (), *, known: Mapping[str, Part] | None = None,
    pace: Pace | None = None, progress: Callable[[Size], None] = lambda _: None,
) -> Measurement:
    """Measure a work dir and the folders `others` beside it. Files that vanish meanwhile are left out.

    `known` are finished parts of an earlier measurement. When `pace.stop` is set, the result is partial.
    """
    pace = pace or Pace()
    return _Scan(known or {}, pace).run(work, [o for o in others if o.is_dir()], progress)


@dataclass
class _Folder:
    """A folder to list: the work dir itself, one of its 256 prefix folders, or a folder inside a part."""

    path: str
    kind: str  # top | prefix | inside
    part: Part
    device: int


class _Scan:
    def __init__(self, known: Mapping[str, Part], pace: Pace) -> None:
        self._known = known
        self._pace = pace
        self._lock = threading.Lock()
        self._quick = threading.Lock()
        self._parts: dict[str, Part] = {}
        self._progress = Size()
        self._scanned = 0
        self._pool: WorkerPool[_Folder]

    def run(self, work: Path, others: list[Path], progress: Callable[[Size], None]) -> Measurement:
        first = [self._first(str(other), "inside", f"({other.name})") for other in others]
        if work.is_dir():
            first.append(self._first(str(work), "top", "(work)"))
        self._pool = WorkerPool(self._pace.readers(work), self._pace.stop, self._list)
        self._pool.run(first, lambda: progress(self._progress))
        progress(self._progress)
        sizes = _count_links_once(self._parts)
        total = Size()
        for size in sizes.values():
            total.add(size)
        partial = self._pace.stop.is_set() or total.unreadable > 0
        return Measurement(total, sizes, self._parts, self._scanned, partial)

    def _first(self, path: str, kind: str, name: str) -> _Folder:
        status = os.stat(path)
        part = self._part(name, status)
        _add_directory(part.size, status)
        return _Folder(path, kind, part, status.st_dev)

    def _part(self, name: str, status: os.stat_result) -> Part:
        part = Part(name, status.st_mtime_ns, pending=1)
        with self._lock:
            self._parts[name] = part
        return part

    def _list(self, folder: _Folder) -> None:
        here = Part(folder.part.name)
        found: list[_Folder] = []
        try:
            with _scandir(folder.path) as entries:
                for first in entries:
                    with self._turn(first):
                        self._take(folder, chain([first], islice(entries, _IN_A_TURN)), here, found)
                    if self._pace.stop.is_set():
                        break
        except FileNotFoundError:
            pass
        except OSError:
            here.size.unreadable += 1
        here.pending += self._pace.stop.is_set()  # keeps the part unfinished, so it is not remembered
        with self._lock:
            part = folder.part
            part.size.add(here.size)
            part.inodes.extend(here.inodes)
            part.linked |= here.linked
            part.finished = part.finished or (here.finished and folder.path.endswith(part.name))
            part.pending += here.pending + len([f for f in found if f.part is part]) - 1
            self._progress.add(here.size)
        if found:
            self._pool.add(found)

    def _turn(self, first: os.DirEntry[str]) -> AbstractContextManager[object]:
        """Looks that the kernel answers at once, one thread takes at a time.

        Python hands its lock over at each look: when many threads wait for it, that takes longer than the
        look. Looks that wait for a server go side by side.
        """
        begun = time.perf_counter()
        with suppress(FileNotFoundError):
            first.stat(follow_symlinks=False)  # the entry remembers it
        return self._quick if time.perf_counter() - begun < _QUICK_SECONDS else nullcontext()

    def _take(
        self, folder: _Folder, entries: Iterable[os.DirEntry[str]], here: Part, found: list[_Folder]
    ) -> None:
        stopped = self._pace.stop.is_set
        files = data = blocks = steps = 0
        inodes: list[int] = []
        for entry in entries:  # the hot loop of every scan: local variables, few calls
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            kind = status.st_mode & _KIND
            if kind == stat.S_IFDIR:
                if status.st_dev == folder.device:  # other file systems do not count
                    found.extend(self._below(folder, entry.name, status, here.size))
                if stopped():
                    break
                continue
            size, name = status.st_size, entry.name
            if kind == stat.S_IFREG and not status.st_mode & 0o777 and status.st_blocks * 1024 < size:
                size = status.st_blocks * 512  # `storage.emptying`: its content is not kept
            files += 1
            data += size
            blocks += status.st_blocks
            if kind != stat.S_IFREG:
                steps += 1
                continue
            steps += -(-size // DATA_STEP)
            if name[0] != "." or not name.startswith(".command."):
                inodes += (status.st_ino, size, status.st_blocks * 512)
                if status.st_nlink > 1:
                    here.linked.add(status.st_ino)
                if size and name == ".exitcode":
                    here.finished = True
        here.inodes.extend(inodes)
        here.size.add(Size(data, blocks * 512, files * OBJECT_BYTES + steps * DATA_STEP, files))

    def _below(
        self, folder: _Folder, name: str, status: os.stat_result, size: Size
    ) -> Iterator[_Folder]:
        """Count a subdirectory; yields it as a folder to list, unless its part is known."""
        path = f"{folder.path}/{name}"
        prefix = folder.kind == "top" and _PREFIX.fullmatch(name)
        if folder.kind == "inside" or prefix:
            _add_directory(size, status)
            yield _Folder(path, "prefix" if prefix else "inside", folder.part, folder.device)
            return
        task = folder.kind == "prefix" and _TASK.fullmatch(name)
        inside = f"{folder.path[-2:]}/{name}" if folder.kind == "prefix" else name
        part_name = inside if task else f"({inside})"
        before = self._known.get(part_name)
        if before is not None and before.mtime_ns == status.st_mtime_ns:
            with self._lock:
                self._parts[part_name] = before
                self._progress.add(before.size)
            return
        part = self._part(part_name, status)
        _add_directory(part.size, status)
        with self._lock:
            self._scanned += bool(task)
        yield _Folder(path, "inside", part, folder.device)


def _add_directory(size: Size, status: os.stat_result) -> None:
    size.directories += 1
    size.disk_bytes += status.st_blocks * 512
    size.metered += metered_bytes(max(1, status.st_size))


@contextmanager
def _scandir(path: str) -> Iterator[Iterator[os.DirEntry[str]]]:
    """List a folder. A path too long for the kernel (PATH_MAX) is opened piece by piece."""
    cut = len(path) if len(path) < _LONGEST_PATH else path.rfind("/", 0, _LONGEST_PATH)
    fd = os.open(path[:cut], descriptors.DIRECTORY)
    try:
        while rest := path[cut:].lstrip("/"):
            path, cut = rest, len(rest) if len(rest) < _LONGEST_PATH else rest.rfind("/", 0, _LONGEST_PATH)
            below = os.open(rest[:cut], descriptors.DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = below
        with os.scandir(fd) as entries:
            yield entries
    finally:
        os.close(fd)


def _count_links_once(parts: Mapping[str, Part]) -> dict[str, Size]:
    """Sizes by part, in the order of names. A file with several hard links counts in the first part only."""
    linked = set().union(*(part.linked for part in parts.values()))
    seen: set[int] = set()
    sizes = {}
    for name in sorted(parts):
        part = parts[name]
        sizes[name] = size = replace(part.size)
        if not linked:
            continue
        for at in range(0, len(part.inodes), 3):
            inode, apparent, disk = part.inodes[at:at + 3]
            if inode not in linked:
                continue
            if inode in seen:
                size.add(Size(apparent, disk, metered_bytes(apparent), 1), -1)
            seen.add(inode)
    return sizes
