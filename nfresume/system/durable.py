"""Write files so that a crash leaves the old file or the new one, never a part. Lock files among hosts."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TextIO


def write(path: Path, data: bytes) -> None:
    """Replace `path` by a file with this data: write, fsync, rename, fsync of the folder. Raises OSError."""
    with writing(path) as file:
        file.write(data)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """A file that replaces `path` when the block ends without an error, as `write` does. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise
    fsync_folder(path.parent)


def create(path: Path, data: bytes) -> bool:
    """Create `path` with this data. Returns False, and changes nothing, when it exists already.

    On NFS a host may not see another host's new file for seconds. So the file server decides, by link(2).
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    write(temporary, data)
    try:
        os.link(temporary, path, follow_symlinks=False)
    except FileExistsError:
        return False
    except OSError as e:
        if e.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            raise
        raise OSError(e.errno, "its file system has no hard links", str(path)) from None
    finally:
        temporary.unlink()
        fsync_folder(path.parent)
    return True


@contextlib.contextmanager
def locked(path: Path) -> Iterator[TextIO]:
    """Lock a file among all hosts, and open it to read and to append. It is made if it is not there.

    The lock ends with the block, or with this process. On a file system without locks nothing is locked.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        with contextlib.suppress(OSError):
            fcntl.lockf(file, fcntl.LOCK_EX)
        yield file


def fsync_folder(folder: str | os.PathLike[str]) -> None:
    """Put the names in `folder` on disk, so that renames and new files survive a crash."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fsync_names(fd)
    finally:
        os.close(fd)


def fsync_names(folder_fd: int) -> None:
    """The same for an open folder. SMB, 9p and VirtualBox cannot do that for folders, and say EINVAL."""
    try:
        os.fsync(folder_fd)
    except OSError as e:
        if e.errno != errno.EINVAL:
            raise
