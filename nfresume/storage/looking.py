"""A bounded look through folders for what needs a work dir, and is in no log.

Pipelines make links themselves (`mklink`, `ln -s` in a task, links in a storeDir): those are materialised.
Text files that name files of the work dir (samplesheets) cannot be mended: they are only told.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice

from nfresume.storage import replacing
from nfresume.storage.publish import Materialiser
from nfresume.storage.workers import WorkerPool
from nfresume.system import regular

#: Larger files are not read: a samplesheet is small.
_LARGEST = 1 << 20
#: Folders in which no result is.
_OTHERS = frozenset({".nextflow", ".git"})
#: A task dir. Those of this execution are in the root, so it is another run's.
_TASK_DIR = re.compile(r".*/[0-9a-f]{2}/[0-9a-f]{30}", re.DOTALL)
#: So many files that name the work dir are told by name.
_TOLD = 20
#: At the beginning of Nextflow's own log, such as a copy by `-log`, and of its output, such as that of
#: `nfresume launch > FILE`: nothing is computed from them.
_LOG = re.compile(rb" nextflow\.cli\.Launcher - \$> |N E X T F L O W ")
#: What follows the path of a work dir where a file of a task is meant. Logs and reports name task dirs only.
_FILE_OF_A_TASK = rb"/[^/\s]+/[^/\s]+/(?!\.command|\.exitcode)[^/\s]"


@dataclass(frozen=True)
class Bounds:
    """Where a look ends: after so many entries of folders, files read, and seconds."""

    entries: int = 200_000
    files: int = 5_000
    seconds: float = 30.0


@dataclass
class Seen:
    """What a look found. `complete` is False when it ended at a bound."""

    entries: int = 0
    files: int = 0
    naming: list[str] = field(default_factory=list)  # text files that name files of tasks, the first 20
    naming_count: int = 0
    complete: bool = True


class Look:
    """Looks through folders level by level, so that what is near the top is found first."""

    def __init__(
        self, materialiser: Materialiser, work: str, root: str, since: float, bounds: Bounds, workers: int,
        heartbeat: Callable[[], None],
    ) -> None:
        """`work` and `root` are free of links; files older than `since` (seconds) name nothing in `work`."""
        self._materialiser = materialiser
        self._names_it = re.compile(re.escape(os.fsencode(work)) + _FILE_OF_A_TASK)
        self._root = root
        self._since = since
        self._bounds = bounds
        self._workers = workers
        self._heartbeat = heartbeat
        self._lock = threading.Lock()
        self._visited: set[str] = set()
        self._below: list[tuple[str, bool]] = []
        self._end = time.monotonic() + bounds.seconds
        self.seen = Seen()

    def limit(self, more: Bounds) -> None:
        """What is looked at from now on ends after so much more."""
        self._bounds = Bounds(self.seen.entries + more.entries, self.seen.files + more.files, more.seconds)
        self._end = time.monotonic() + more.seconds

    def through(self, folders: Iterable[str], named: Iterable[str] = ()) -> Seen:
        """Look through these folders and all below, but not in the root.

        In `named` folders, behind a link to a folder, and in task dirs of other runs, only what has changed
        since the execution began is looked at: there may be all the data of a site.
        """
        level = [(os.path.realpath(folder), False) for folder in folders]
        level += [(os.path.realpath(folder), True) for folder in named if self._is_touched(folder)]
        while level:
            self._below = []
            fresh = [(f, far) for f, far in dict(sorted(level, reverse=True)).items()
                     if f not in self._visited and not self._is_ours(f)]
            self._visited.update(f for f, _ in fresh)
            never = threading.Event()
            WorkerPool(self._workers, never, self._folder).run(fresh, self._heartbeat)
            level = self._below
        return self.seen

    def directly_in(self, folders: Iterable[str]) -> None:
        """Look at the links in these folders, not below, if they have changed since the execution began."""
        for folder in sorted(set(map(os.path.realpath, folders))):
            self._heartbeat()
            if folder in self._visited or self._is_ours(folder):
                continue
            if self._is_over():
                return
            try:
                if os.stat(folder).st_mtime < self._since:
                    continue
                with os.scandir(folder) as entries:
                    found = list(islice(entries, self._bounds.entries - self.seen.entries))
            except OSError:
                continue  # what is not ours to read, or is gone
            self.seen.entries += len(found)
            self._materialiser.links(folder, [entry.path for entry in found if entry.is_symlink()])

    def _is_ours(self, folder: str) -> bool:
        return folder == self._root or folder.startswith(f"{self._root}/")

    def _is_over(self) -> bool:
        """True at a bound: then the look is not complete."""
        over = self.seen.entries >= self._bounds.entries or time.monotonic() > self._end
        if over:
            self.seen.complete = False
        return over

    def _folder(self, unit: tuple[str, bool]) -> None:
        folder, far = unit
        seen, links, texts, count = self.seen, [], [], 0
        below: list[tuple[str, bool]] = []
        if self._is_over():
            return
        try:
            with os.scandir(folder) as entries:
                for count, entry in enumerate(entries, 1):
                    if count + seen.entries > self._bounds.entries:
                        seen.complete = False
                        break
                    if entry.is_symlink():
                        links.append(entry.path)
                        if self._is_new(entry):
                            below.append((os.path.realpath(entry.path), True))
                    elif entry.is_dir(follow_symlinks=False):
                        apart = far or bool(_TASK_DIR.fullmatch(entry.path))
                        if entry.name not in _OTHERS and (not apart or self._is_new(entry)):
                            below.append((entry.path, apart))
                    elif not entry.name.startswith(replacing.PREFIX) and self._may_name_it(entry):
                        texts.append(entry.path)
        except OSError:
            return  # what is not ours to read, or is gone
        with self._lock:
            seen.entries += count
            self._below += below
        self._materialiser.links(folder, links)
        for path in texts:
            self._read(path)

    def _is_touched(self, folder: str) -> bool:
        """True when something has changed directly in a folder, or in one of its subfolders."""
        self._heartbeat()
        if self._is_over():
            return False
        try:
            with os.scandir(folder) as entries:
                first = islice(entries, self._bounds.entries)
                return os.stat(folder).st_mtime >= self._since or any(map(self._is_new, first))
        except OSError:
            return False

    def _is_new(self, entry: os.DirEntry[str]) -> bool:
        """A folder, or a link to one, in which something has changed since the execution began."""
        try:
            return entry.is_dir() and entry.stat().st_mtime >= self._since
        except OSError:
            return False

    def _may_name_it(self, entry: os.DirEntry[str]) -> bool:
        """A regular file, small, and written since the execution began."""
        try:
            found = entry.stat(follow_symlinks=False)
        except OSError:
            return False
        small = entry.is_file(follow_symlinks=False) and 0 < found.st_size <= _LARGEST
        return small and found.st_mtime >= self._since

    def _read(self, path: str) -> None:
        with self._lock:
            if self.seen.files >= self._bounds.files:
                self.seen.complete = False
                return
            self.seen.files += 1
        try:
            with open(path, "rb", opener=regular.opener) as file:
                data = file.read(_LARGEST)
        except OSError:
            return
        if b"\0" in data or _LOG.search(data[:4096]):
            return
        if self._names_it.search(data):
            with self._lock:
                self.seen.naming_count += 1
                if len(self.seen.naming) < _TOLD:
                    self.seen.naming.append(path)
