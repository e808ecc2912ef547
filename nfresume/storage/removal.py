"""Empty the trash: all of it, as fast as the file system allows, and not one byte outside.

Everything happens relative to open descriptors that begin at the marked root. Symlinks are unlinked,
never followed; a directory on another mount is left alone and reported. Directories are removed side
by side, a parent when its last child is gone. Descriptors and memory are bounded whatever the shape of
the tree: a directory that would be one open descriptor too many is renamed to the top of the trash, for
the next round, and a listing takes in so many subdirectories at a time.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from nfresume.storage import descriptors, trash
from nfresume.storage.crew import Ceiling, Crew, Pace
from nfresume.storage.root import Root
from nfresume.system import crashpoints

#: Directories open at once, all workers together.
MAX_OPEN = 400
#: Subdirectories whose names are held at once.
MAX_WAITING = 100_000
#: Entries of one directory that are held at once.
MAX_LISTED = 10_000
#: Entries that cannot go are counted; so many are named.
MAX_NAMED = 100
#: Waits between tries for entries that may go by themselves (.nfsXXXX of a file still open).
RETRIES = (0.05, 0.2, 1.0)

_BATCH = 64
_TRANSIENT = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY, errno.ESTALE})


@dataclass
class Removed:
    """What a removal did so far: objects gone and their bytes on disk, seconds taken; how many entries
    cannot go, the first of them by path and reason; `stopped` when it was told to end early."""

    files: int = 0
    directories: int = 0
    bytes: int = 0
    seconds: float = 0.0
    blocked_count: int = 0
    blocked: list[str] = field(default_factory=list)
    stopped: bool = False

    @property
    def files_per_second(self) -> float:
        """The rate so far."""
        return self.files / self.seconds if self.seconds else 0.0


def empty_trash(
    root: Root, execution_id: str, progress: Callable[[Removed], None] = lambda _: None,
    pace: Pace | None = None,
) -> Removed:
    """Remove what is in the trash of one execution. Safe to repeat and to interrupt.

    `progress` is called a few times a second, from the calling thread.
    """
    pace = pace or Pace()
    with root.descriptor() as root_fd:
        trash_fd = trash.open_trash(root_fd)
        try:
            mine = [entry for entry in os.listdir(trash_fd) if trash.owner(entry) == execution_id]
            workers = pace.removers(root.path) if mine else 1
            return _Removal(trash_fd, execution_id, workers, pace, progress).run(mine)
        finally:
            os.close(trash_fd)


class _Directory:
    """One directory on its way out. `pending`: its own listing, and children that are not done."""

    __slots__ = ("again", "blocked", "fd", "name", "newcomers", "parent", "pending", "tries")

    def __init__(self, parent: _Directory | None, name: str) -> None:
        self.parent = parent
        self.name = name
        self.fd = -1
        self.pending = 0
        self.tries = 0
        self.again = False  # its listing left something for another one
        self.newcomers = 0  # files that somebody put into it since this removal began
        self.blocked = False  # something in it cannot go, and is reported

    @property
    def path(self) -> str:
        names = [self.name]
        above = self.parent
        while above is not None:
            names.append(above.name)
            above = above.parent
        return "/".join(reversed(names))


class _Removal:
    def __init__(
        self, trash_fd: int, execution_id: str, workers: int, pace: Pace,
        progress: Callable[[Removed], None],
    ) -> None:
        self._trash_fd = trash_fd
        self._execution_id = execution_id
        self._workers = workers
        self._stop = pace.stop
        self._ceiling = Ceiling(pace.ceiling, pace.stop) if pace.ceiling else None
        self._progress = progress
        self._mount = descriptors.mount_id(trash_fd)
        with contextlib.suppress(OSError):
            os.utime(trash_fd)  # now, by the clock of the file system
        self._since = os.fstat(trash_fd).st_mtime_ns
        self._removed = Removed()
        self._lock = threading.Lock()
        self._open: set[_Directory] = set()
        self._later: list[str] = []
        self._crew: Crew[_Directory]

    def run(self, entries: list[str]) -> Removed:
        """Round after round, until nothing was too deep for the last one."""
        begun = time.monotonic()

        def watch() -> None:
            self._removed.seconds = time.monotonic() - begun
            self._progress(self._removed)

        while entries and not self._stop.is_set():
            self._crew = Crew(self._workers, self._stop, self._handle)
            try:
                self._crew.run([_Directory(None, entry) for entry in entries], watch)
            finally:
                for directory in self._open:
                    os.close(directory.fd)
                self._open.clear()
            entries, self._later = self._later, []
        self._removed.stopped = self._stop.is_set()
        watch()
        return self._removed

    def _handle(self, directory: _Directory) -> None:
        if directory.fd >= 0 or self._enter(directory):
            self._list(directory)
        else:
            self._leave(directory)

    def _enter(self, directory: _Directory) -> bool:
        """Open it, unless it is gone, cannot be opened, is somebody's mount or is one too many."""
        parent = directory.parent
        if parent is not None and len(self._open) >= MAX_OPEN:
            self._move_up(directory, parent)
            return False
        self._wait_turn()
        try:
            fd = descriptors.open_directory(directory.name, parent.fd if parent else self._trash_fd)
        except FileNotFoundError:
            return False
        except OSError as e:
            self._fail(directory, directory.parent, directory.path, e)
            return False
        if descriptors.mount_id(fd) != self._mount:
            os.close(fd)
            self._block(directory, directory.path, "a mount point; nothing behind it was touched")
            return False
        directory.fd = fd
        with self._lock:
            self._open.add(directory)
        return True

    def _list(self, directory: _Directory) -> None:
        """Unlink what is no directory; hand the directories to the crew as they come."""
        directory.pending = 1
        directory.again = False
        directory.newcomers = 0
        room = max(1, MAX_WAITING - self._crew.waiting)
        try:
            with os.scandir(directory.fd) as entries:
                while chunk := list(itertools.islice(entries, MAX_LISTED)):
                    room = self._take(directory, chunk, room)
                    if self._stop.is_set() or directory.newcomers >= MAX_LISTED:
                        break  # a process that still writes here must not keep us for ever
        except FileNotFoundError:
            pass  # somebody else removed it
        except OSError as e:
            self._fail(directory, directory, directory.path, e)
        self._done(directory)

    def _take(self, directory: _Directory, chunk: list[os.DirEntry[str]], room: int) -> int:
        """Deal with part of a listing; returns for how many more subdirectories there is room."""
        found: list[_Directory] = []
        done = Removed()
        for entry in chunk:
            if not entry.is_dir(follow_symlinks=False):
                if self._stop.is_set():
                    break
                self._unlink(entry, directory, done)
            elif room:
                room -= 1
                found.append(_Directory(directory, entry.name))
            else:
                directory.again = True
            if len(found) == _BATCH or done.files == _BATCH:
                self._report(directory, found, done)
                found = []
        self._report(directory, found, done)
        return room

    def _report(self, directory: _Directory, found: list[_Directory], done: Removed) -> None:
        with self._lock:
            directory.pending += len(found)
            self._removed.files += done.files
            self._removed.bytes += done.bytes
        done.files = done.bytes = 0
        if found:
            self._crew.add(found)

    def _unlink(self, entry: os.DirEntry[str], directory: _Directory, done: Removed) -> None:
        self._wait_turn()
        try:
            status = entry.stat(follow_symlinks=False)
            try:
                os.unlink(entry.name, dir_fd=directory.fd)
            except PermissionError as e:
                if e.errno != errno.EACCES:
                    raise
                os.fchmod(directory.fd, 0o700)
                os.unlink(entry.name, dir_fd=directory.fd)
        except FileNotFoundError:
            return
        except OSError as e:
            self._fail(directory, directory, f"{directory.path}/{entry.name}", e)
            return
        done.files += 1
        done.bytes += status.st_blocks * 512
        directory.newcomers += status.st_mtime_ns > self._since

    def _done(self, directory: _Directory | None) -> None:
        """One thing that a directory waited for is done; with the last, it goes, and so on upwards."""
        while directory is not None:
            with self._lock:
                directory.pending -= 1
                if directory.pending:
                    return
            if not self._finished(directory):
                self._crew.add([directory])
                return
            directory = self._close(directory)

    def _leave(self, directory: _Directory) -> None:
        self._done(self._close(directory))

    def _close(self, directory: _Directory) -> _Directory | None:
        """Give the descriptor back; returns the parent."""
        if directory.fd >= 0:
            with self._lock:
                self._open.discard(directory)
            os.close(directory.fd)
            directory.fd = -1
        if directory.blocked and directory.parent is not None:
            directory.parent.blocked = True
        return directory.parent

    def _finished(self, directory: _Directory) -> bool:
        """Remove an emptied directory. False: it must be listed once more."""
        if self._stop.is_set():
            return True
        if directory.blocked and not directory.again:
            return True  # what holds it is reported already
        self._wait_turn()
        try:
            self._rmdir(directory)
        except FileNotFoundError:
            return True
        except OSError as e:
            if directory.again and not directory.blocked and e.errno == errno.ENOTEMPTY:
                return False  # it had more subdirectories than one listing takes in
            if e.errno == errno.ESTALE and directory.parent is not None:
                return True  # somebody else removed it, or its parent: the parent's rmdir will tell
            if e.errno in _TRANSIENT and directory.tries < len(RETRIES):
                self._stop.wait(RETRIES[directory.tries])
                directory.tries += 1
                return False
            self._block(directory, directory.path, e.strerror)
            return True
        with self._lock:
            self._removed.directories += 1
        crashpoints.reach("half-removed")
        return True

    def _rmdir(self, directory: _Directory) -> None:
        parent_fd = directory.parent.fd if directory.parent else self._trash_fd
        try:
            os.rmdir(directory.name, dir_fd=parent_fd)
        except PermissionError as e:
            if e.errno != errno.EACCES:
                raise
            os.fchmod(parent_fd, 0o700)
            os.rmdir(directory.name, dir_fd=parent_fd)

    def _wait_turn(self) -> None:
        if self._ceiling is not None:
            self._ceiling.wait()

    def _move_up(self, directory: _Directory, parent: _Directory) -> None:
        """Rename a subtree to the trash's top, still under its execution's name, for the next round."""
        target = f"{self._execution_id}-{uuid.uuid4().hex}"
        self._wait_turn()
        try:
            with contextlib.suppress(PermissionError):  # somebody else's; perhaps it is writable anyway
                os.fchmod(parent.fd, 0o700)
            descriptors.rename(directory.name, parent.fd, target, self._trash_fd)
        except FileNotFoundError:
            return
        except OSError as e:
            self._fail(directory, parent, directory.path, e)
            return
        with self._lock:
            self._later.append(target)

    def _fail(self, at: _Directory, retried_by: _Directory | None, path: str, error: OSError) -> None:
        """Leave a passing trouble to the next listing of the directory around it; report any other."""
        if error.errno == errno.ESTALE and retried_by is not None:
            return  # somebody else removed it; if not, the directory around it will not be empty
        if error.errno in _TRANSIENT and retried_by is not None and retried_by.tries < len(RETRIES):
            return  # that directory's rmdir finds it not empty, waits, and lists it again
        self._block(at, path, error.strerror)

    def _block(self, at: _Directory, path: str, reason: str | None) -> None:
        at.blocked = True
        with self._lock:
            self._removed.blocked_count += 1
            if len(self._removed.blocked) < MAX_NAMED:
                self._removed.blocked.append(f"{path}: {reason}")
