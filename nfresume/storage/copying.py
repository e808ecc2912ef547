"""Copy a file to another file system: verified, with its holes, FIFOs and sockets as what they are."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat

#: How a file system refuses modes or times: it has none (SMB, NTFS), or takes them from the owner only.
_REFUSED = frozenset({errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS})


def copy_attributes(source: str, target: str, *, follow_symlinks: bool = True) -> None:
    """Copy mode and times, as far as the target's file system takes them. Raises OSError."""
    for copy in (shutil.copystat, shutil.copymode):
        try:
            copy(source, target, follow_symlinks=follow_symlinks)
        except OSError as e:
            if e.errno not in _REFUSED:
                raise
        else:
            return


def copy_verified(source: str, target: str) -> None:
    """Copy a file with its mode and times to a new path, and fsync it.

    A regular file is read back and compared; what is none is made anew, as opening it could wait for ever.
    Raises OSError: it cannot be made, or the copy differs.
    """
    found = os.lstat(source)
    if not stat.S_ISREG(found.st_mode):
        os.mknod(target, found.st_mode, found.st_rdev)
        copy_attributes(source, target, follow_symlinks=False)
        return
    with open(source, "rb") as original, open(target, "xb") as copy:
        _copy_data(original.fileno(), copy.fileno(), found.st_size)
    copy_attributes(source, target)
    with open(target, "rb") as copied, open(source, "rb") as original:
        os.fsync(copied.fileno())
        os.posix_fadvise(copied.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        if hashlib.file_digest(copied, "sha256").digest() != hashlib.file_digest(original, "sha256").digest():
            raise OSError(errno.EIO, f"the copy of {source} differs from it")


def _copy_data(source: int, target: int, size: int) -> None:
    """Copy what is stored of a file. Its holes stay holes: a sparse file takes no more room than before."""
    start = end = 0
    while end < size:
        try:
            start = os.lseek(source, end, os.SEEK_DATA)
            end = os.lseek(source, start, os.SEEK_HOLE)
        except OSError as e:
            if e.errno != errno.ENXIO:
                raise
            break  # only a hole is left
        os.lseek(target, start, os.SEEK_SET)
        while start < end and (sent := os.sendfile(target, source, start, end - start)):
            start += sent
        if start < end:
            break  # the file has become shorter
    os.ftruncate(target, size)
