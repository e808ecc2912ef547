"""Open, rename and inspect entries relative to directory descriptors; no link is ever followed."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def of(folder: str | os.PathLike[str]) -> Iterator[int]:
    """A descriptor of a folder by its path, which may contain links. Raises OSError."""
    fd = os.open(folder, DIRECTORY & ~os.O_NOFOLLOW)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def below(parent_fd: int, names: Iterable[str]) -> Iterator[int]:
    """A descriptor of the folder that these names lead to from an open one, name by name. Raises OSError."""
    fd = os.dup(parent_fd)
    try:
        for name in names:
            inner = os.open(name, DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = inner
        yield fd
    finally:
        os.close(fd)


def open_directory(name: str, parent_fd: int) -> int:
    """Open a directory; where its mode forbids that, set its mode to 0700 first."""
    try:
        return os.open(name, DIRECTORY, dir_fd=parent_fd)
    except PermissionError:
        make_private(name, parent_fd)
        return os.open(name, DIRECTORY, dir_fd=parent_fd)


def rename(name: str, parent_fd: int, target: str, target_fd: int) -> None:
    """Rename an entry into another directory. A directory that is not writable gets mode 0700 first: the
    kernel demands that, because its `..` changes."""
    try:
        os.rename(name, target, src_dir_fd=parent_fd, dst_dir_fd=target_fd)
    except PermissionError:
        if not is_directory(name, parent_fd):
            raise
        make_private(name, parent_fd)
        os.rename(name, target, src_dir_fd=parent_fd, dst_dir_fd=target_fd)


def make_private(name: str, parent_fd: int) -> None:
    """Set the mode of a directory to 0700. Raises OSError."""
    path_fd = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
    try:
        os.chmod(f"/proc/self/fd/{path_fd}", 0o700)  # changes this inode, even if its name has been replaced
    finally:
        os.close(path_fd)


def is_directory(name: str, parent_fd: int) -> bool:
    """True for a directory, False for a link to one. Raises FileNotFoundError."""
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
    try:
        return os.path.isdir(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def mount_id(fd: int) -> int:
    """The id of the mount that a descriptor is on. A bind mount of the same file system has another id."""
    info = os.open(f"/proc/self/fdinfo/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        text = os.read(info, 4096)
    finally:
        os.close(info)
    _, found, rest = text.partition(b"mnt_id:")
    if not found:
        raise OSError(errno.ENOSYS, "the kernel does not report mount ids")
    return int(rest.split(None, 1)[0])
