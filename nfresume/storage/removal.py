"""Remove a work dir, and never anything else.

Everything happens relative to open descriptors that begin at the marked root. Symlinks are
unlinked, never followed; a directory on another mount is left alone and reported. The walk is
iterative, and a subtree that is too deep is first renamed to the top of the trash, so depth and path
length never matter and few descriptors are open at a time.
"""

from __future__ import annotations

import errno
import os
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from nfresume.storage.root import TRASH, Root

#: Directories open at once; deeper subtrees are renamed to the top of the trash entry first.
MAX_DEPTH = 64
#: Waits between tries for entries that may go by themselves (.nfsXXXX of a file still open).
RETRIES = (0.05, 0.2, 1.0)

_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_TRANSIENT = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY, errno.ESTALE})


@dataclass
class Removed:
    """What a removal did: objects and bytes gone, and what stayed with its reason."""

    files: int = 0
    directories: int = 0
    bytes: int = 0
    blocked: list[str] = field(default_factory=list)


def to_trash(root: Root, account: str, execution_id: str) -> None:
    """Rename `work` and `cache` of an execution into the trash; safe to repeat.

    Every folder on the way is opened without following links, so a parent that was swapped for a
    symlink is refused (OSError) and nothing is touched.
    """
    for name in (account, execution_id):
        if name in ("", ".", "..", TRASH) or "/" in name or "\0" in name:
            raise OSError(errno.EINVAL, f"not the name of a folder inside the root: {name!r}")
    with root.descriptor() as root_fd:
        try:
            account_fd = os.open(account, _DIR, dir_fd=root_fd)
        except FileNotFoundError:
            return
        try:
            execution_fd = os.open(execution_id, _DIR, dir_fd=account_fd)
        except FileNotFoundError:
            return
        finally:
            os.close(account_fd)
        try:
            for name in ("work", "cache"):
                _rename_to_trash(root_fd, execution_fd, name, execution_id)
        finally:
            os.close(execution_fd)


def _rename_to_trash(root_fd: int, execution_fd: int, name: str, execution_id: str) -> None:
    try:
        if not _is_directory(name, execution_fd):
            return
    except FileNotFoundError:
        return
    entry = f"{execution_id}-{uuid.uuid4().hex[:8]}"
    trash_fd = _open_trash(root_fd)
    try:
        os.mkdir(entry, 0o700, dir_fd=trash_fd)
        entry_fd = os.open(entry, _DIR, dir_fd=trash_fd)
        try:
            os.rename(name, name, src_dir_fd=execution_fd, dst_dir_fd=entry_fd)
            os.fsync(execution_fd)
            os.fsync(entry_fd)
        finally:
            os.close(entry_fd)
    finally:
        os.close(trash_fd)


def empty_trash(
    root: Root, execution_id: str, progress: Callable[[Removed], None] = lambda _: None
) -> Removed:
    """Remove what `to_trash` put aside for one execution. Safe to repeat and to interrupt."""
    removed = Removed()
    with root.descriptor() as root_fd:
        trash_fd = _open_trash(root_fd)
        try:
            for entry in os.listdir(trash_fd):
                if entry.rpartition("-")[0] == execution_id:
                    _Walk(trash_fd, execution_id, removed, progress).remove(entry)
        finally:
            os.close(trash_fd)
    return removed


def trash_entries(root: Root) -> set[str]:
    """Ids of the executions that have something in the trash."""
    with root.descriptor() as root_fd:
        trash_fd = _open_trash(root_fd)
        try:
            return {entry.rpartition("-")[0] for entry in os.listdir(trash_fd)}
        finally:
            os.close(trash_fd)


def _open_trash(root_fd: int) -> int:
    return os.open(TRASH, _DIR, dir_fd=root_fd)


@dataclass
class _Frame:
    """One open directory on the way down."""

    parent_fd: int
    name: str
    fd: int
    path: str
    children: list[str]
    tries: int = 0


class _Walk:
    """Depth-first removal of one execution's trash entries."""

    def __init__(
        self, trash_fd: int, execution_id: str, removed: Removed, progress: Callable[[Removed], None]
    ) -> None:
        self._trash_fd = trash_fd
        self._mount = _mount_id(trash_fd)
        self._execution_id = execution_id
        self._removed = removed
        self._progress = progress

    def remove(self, entry: str) -> None:
        """Remove `entry` of the trash, then the subtrees that were too deep for the first pass."""
        waiting = [entry]
        while waiting:
            waiting += self._remove_tree(waiting.pop())

    def _remove_tree(self, entry: str) -> list[str]:
        """Remove one tree; returns the names of subtrees that were moved to the trash's top."""
        moved: list[str] = []
        stack: list[_Frame] = []
        self._enter(stack, self._trash_fd, entry, entry)
        try:
            while stack:
                frame = stack[-1]
                if frame.children:
                    child = frame.children.pop()
                    if len(stack) < MAX_DEPTH:
                        self._enter(stack, frame.fd, child, f"{frame.path}/{child}")
                    else:
                        moved += self._move_up(frame, child)
                elif self._rmdir(frame):
                    os.close(stack.pop().fd)
                    self._progress(self._removed)
        finally:
            for frame in stack:
                os.close(frame.fd)
        return moved

    def _enter(self, stack: list[_Frame], parent_fd: int, name: str, path: str) -> None:
        try:
            fd = _open_directory(name, parent_fd)
        except FileNotFoundError:
            return
        except OSError as e:
            self._block(path, e)
            return
        if _mount_id(fd) != self._mount:
            os.close(fd)
            self._removed.blocked.append(f"{path}: a mount point; nothing behind it was touched")
            return
        stack.append(_Frame(parent_fd, name, fd, path, []))
        stack[-1].children = self._remove_files(fd, path)

    def _remove_files(self, fd: int, path: str) -> list[str]:
        """Unlink every non-directory in `fd`; returns the names of the directories."""
        with os.scandir(fd) as entries:
            listed = list(entries)
        for entry in listed:
            if not entry.is_dir(follow_symlinks=False):
                self._unlink(entry, fd, path)
        return [entry.name for entry in listed if entry.is_dir(follow_symlinks=False)]

    def _unlink(self, entry: os.DirEntry[str], fd: int, path: str) -> None:
        try:
            size = entry.stat(follow_symlinks=False).st_blocks * 512
            _writable_retry(lambda: os.unlink(entry.name, dir_fd=fd), fd)
        except FileNotFoundError:
            return
        except OSError as e:
            self._block(f"{path}/{entry.name}", e)
            return
        self._removed.files += 1
        self._removed.bytes += size

    def _rmdir(self, frame: _Frame) -> bool:
        """Remove an emptied directory. False: something new appeared in it, go through it again."""
        try:
            _writable_retry(lambda: os.rmdir(frame.name, dir_fd=frame.parent_fd), frame.parent_fd)
        except FileNotFoundError:
            return True
        except OSError as e:
            if any(line.startswith(frame.path + "/") for line in self._removed.blocked):
                return True  # what holds it is reported already
            if e.errno in _TRANSIENT and frame.tries < len(RETRIES):
                time.sleep(RETRIES[frame.tries])
                frame.tries += 1
                frame.children = self._remove_files(frame.fd, frame.path)
                return False
            self._block(frame.path, e)
            return True
        self._removed.directories += 1
        return True

    def _move_up(self, frame: _Frame, name: str) -> list[str]:
        """Rename a deep subtree to the trash's top, still under its execution's name."""
        target = f"{self._execution_id}-{uuid.uuid4().hex}"
        try:
            os.rename(name, target, src_dir_fd=frame.fd, dst_dir_fd=self._trash_fd)
        except OSError as e:
            self._block(f"{frame.path}/{name}", e)
            return []
        return [target]

    def _block(self, path: str, error: OSError) -> None:
        self._removed.blocked.append(f"{path}: {error.strerror}")


def _is_directory(name: str, parent_fd: int) -> bool:
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
    try:
        return os.path.isdir(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def _open_directory(name: str, parent_fd: int) -> int:
    """Open a directory, giving its owner the right to read it first where that is missing."""
    try:
        return os.open(name, _DIR, dir_fd=parent_fd)
    except PermissionError:
        path_fd = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
        try:
            os.chmod(f"/proc/self/fd/{path_fd}", 0o700)  # this very inode, wherever its name leads now
        finally:
            os.close(path_fd)
        return os.open(name, _DIR, dir_fd=parent_fd)


def _writable_retry(action: Callable[[], None], parent_fd: int) -> None:
    try:
        action()
    except PermissionError as e:
        if e.errno != errno.EACCES:
            raise
        os.fchmod(parent_fd, 0o700)
        action()


def _mount_id(fd: int) -> int:
    """The mount that a descriptor is on: tells a bind mount of the same file system apart too."""
    with open(f"/proc/self/fdinfo/{fd}") as file:
        for line in file:
            if line.startswith("mnt_id:"):
                return int(line.split()[1])
    raise OSError(errno.ENOSYS, "the kernel does not tell mount ids")
