"""Empty the trash as fast as the file system allows, without touching anything outside it.

All operations are relative to open descriptors that start at the marked root. Symlinks are unlinked, never
followed. A directory on another mount is left alone and reported. Directories are removed in parallel, a
parent after its last child. Open descriptors and memory are bounded for any shape of tree: when MAX_OPEN
directories are open, the next one is renamed to the top of the trash and removed in the next round; one
listing takes in a limited number of subdirectories.
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

from nfresume.storage import trash
from nfresume.storage.root import Root
from nfresume.storage.workers import Pace, WorkerPool
from nfresume.system import crashpoints, descriptors

#: How many directories all workers together keep open.
MAX_OPEN = 400
#: How many subdirectories wait in memory.
MAX_WAITING = 100_000
#: How many entries of one directory are in memory at once.
MAX_LISTED = 10_000
#: How many entries that cannot be removed are named; all are counted.
MAX_NAMED = 100
#: Seconds between tries for entries that may vanish by themselves (.nfsXXXX of a file that is still open).
RETRIES = (0.05, 0.2, 1.0)

_BATCH = 64
_TRANSIENT = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY, errno.ESTALE})


@dataclass
class Removed:
    """What a removal has done so far.

    `files` and `directories` removed, their allocated `bytes`, and the `seconds` it took. `blocked_count`
    entries cannot be removed; `blocked` names the first MAX_NAMED of them as "path: reason". `stopped`: it
    was told to end early.
    """

    files: int = 0
    directories: int = 0
    bytes: int = 0
    seconds: float = 0.0
    blocked_count: int = 0
    blocked: list[str] = field(default_factory=list)
    stopped: bool = False

    @property
    def files_per_second(self) -> float:
        """Files removed per second so far; 0 before any time has passed."""
        return self.files / self.seconds if self.seconds else 0.0


def empty_trash(
    root: Root, execution_id: str, progress: Callable[[Removed], None] = lambda _: None,
    pace: Pace | None = None,
) -> Removed:
    """Remove the trash entries of one execution. Safe to repeat and to interrupt.

    `progress` is called several times a second, from the calling thread.
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
    """One directory that is being removed. `pending` counts its own listing and its unfinished children."""

    __slots__ = ("blocked", "fd", "name", "new_files", "parent", "pending", "relist", "tries")

    def __init__(self, parent: _Directory | None, name: str) -> None:
        self.parent = parent
        self.name = name
        self.fd = -1
        self.pending = 0
        self.tries = 0
        self.relist = False  # the last listing did not take in all subdirectories
        self.new_files = 0  # files that were created since this removal began
        self.blocked = False  # it contains something that cannot be removed and was reported

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
        self._rate_limit = pace.rate_limit
        self._progress = progress
        self._mount = descriptors.mount_id(trash_fd)
        with contextlib.suppress(OSError):
            os.utime(trash_fd)  # the present time by the file system's clock
        self._since = os.fstat(trash_fd).st_mtime_ns
        self._removed = Removed()
        self._lock = threading.Lock()
        self._open: set[_Directory] = set()
        self._next_round: list[str] = []
        self._pool: WorkerPool[_Directory]

    def run(self, entries: list[str]) -> Removed:
        """Remove in rounds, until no directory was moved to the next one."""
        begun = time.monotonic()

        def watch() -> None:
            self._removed.seconds = time.monotonic() - begun
            self._progress(self._removed)

        while entries and not self._stop.is_set():
            self._pool = WorkerPool(self._workers, self._stop, self._handle)
            try:
                self._pool.run([_Directory(None, entry) for entry in entries], watch)
            finally:
                for directory in self._open:
                    os.close(directory.fd)
                self._open.clear()
            entries, self._next_round = self._next_round, []
        self._removed.stopped = self._stop.is_set()
        watch()
        return self._removed

    def _handle(self, directory: _Directory) -> None:
        if directory.fd >= 0 or self._enter(directory):
            self._list(directory)
        else:
            self._leave(directory)

    def _enter(self, directory: _Directory) -> bool:
        """Open a directory. False if it is gone, cannot be opened, is a mount point, or must wait a round."""
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
        """Unlink everything but directories; queue the directories for the workers."""
        directory.pending = 1
        directory.relist = False
        directory.new_files = 0
        room = max(1, MAX_WAITING - self._pool.waiting)
        try:
            with os.scandir(directory.fd) as entries:
                while chunk := list(itertools.islice(entries, MAX_LISTED)):
                    room = self._process(directory, chunk, room)
                    if self._stop.is_set() or directory.new_files >= MAX_LISTED:
                        break  # a process that still writes here must not keep this loop going for ever
        except FileNotFoundError:
            pass  # another process removed it
        except OSError as e:
            self._fail(directory, directory, directory.path, e)
        self._child_done(directory)

    def _process(self, directory: _Directory, chunk: list[os.DirEntry[str]], room: int) -> int:
        """Process part of a listing; returns how many more subdirectories may be queued."""
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
                directory.relist = True
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
            self._pool.add(found)

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
        directory.new_files += status.st_mtime_ns > self._since

    def _child_done(self, directory: _Directory | None) -> None:
        """Count one finished child or listing. After the last, remove the directory and tell its parent."""
        while directory is not None:
            with self._lock:
                directory.pending -= 1
                if directory.pending:
                    return
            if not self._try_rmdir(directory):
                self._pool.add([directory])
                return
            directory = self._close(directory)

    def _leave(self, directory: _Directory) -> None:
        self._child_done(self._close(directory))

    def _close(self, directory: _Directory) -> _Directory | None:
        """Close the descriptor; returns the parent."""
        if directory.fd >= 0:
            with self._lock:
                self._open.discard(directory)
            os.close(directory.fd)
            directory.fd = -1
        if directory.blocked and directory.parent is not None:
            directory.parent.blocked = True
        return directory.parent

    def _try_rmdir(self, directory: _Directory) -> bool:
        """Remove an emptied directory. Returns False when it must be listed once more."""
        if self._stop.is_set():
            return True
        if directory.blocked and not directory.relist:
            return True  # the entry that blocks it is already reported
        self._wait_turn()
        try:
            self._rmdir(directory)
        except FileNotFoundError:
            return True
        except OSError as e:
            if directory.relist and not directory.blocked and e.errno == errno.ENOTEMPTY:
                return False  # the listing did not take in all its subdirectories
            if e.errno == errno.ESTALE and directory.parent is not None:
                return True  # another host removed it or its parent; if not, the parent's rmdir fails
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
        if self._rate_limit is not None:
            self._rate_limit.wait()

    def _move_up(self, directory: _Directory, parent: _Directory) -> None:
        """Rename a subtree to the top of the trash, as an entry of the same execution, for the next round."""
        target = f"{self._execution_id}-{uuid.uuid4().hex}"
        self._wait_turn()
        try:
            with contextlib.suppress(PermissionError):  # not our directory; it may be writable all the same
                os.fchmod(parent.fd, 0o700)
            descriptors.rename(directory.name, parent.fd, target, self._trash_fd)
        except FileNotFoundError:
            return
        except OSError as e:
            self._fail(directory, parent, directory.path, e)
            return
        with self._lock:
            self._next_round.append(target)

    def _fail(self, at: _Directory, retried_by: _Directory | None, path: str, error: OSError) -> None:
        """Report an error. A transient one is not reported: `retried_by`, the parent, is listed again."""
        if error.errno == errno.ESTALE and retried_by is not None:
            return  # another host removed it; if not, the rmdir of the directory around it fails
        if error.errno in _TRANSIENT and retried_by is not None and retried_by.tries < len(RETRIES):
            return  # that directory's rmdir fails as not empty, waits, and lists it again
        self._block(at, path, error.strerror)

    def _block(self, at: _Directory, path: str, reason: str | None) -> None:
        at.blocked = True
        with self._lock:
            self._removed.blocked_count += 1
            if len(self._removed.blocked) < MAX_NAMED:
                self._removed.blocked.append(f"{path}: {reason}")
