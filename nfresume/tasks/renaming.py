"""`os.rename` in a task from one of its file systems to another.

On Latch a task has one file system, and public files rename their inputs to `/root` or `/tmp`. Here each of
these is a mount, between which the kernel renames nothing. So what it refuses is copied, and then removed.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from typing import Any

_Path = str | os.PathLike[str]


@contextlib.contextmanager
def across_mounts() -> Iterator[None]:
    """Meanwhile `os.rename` and `os.replace` of this process go across mounts, and what uses them."""
    before = os.rename, os.replace
    os.rename, os.replace = map(_across, before)
    try:
        yield
    finally:
        os.rename, os.replace = before


def _across(rename: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(rename)
    def moved(src: Any, dst: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None) -> None:
        try:
            rename(src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        except OSError as e:
            if e.errno != errno.EXDEV or src_dir_fd is not None or dst_dir_fd is not None:
                raise
            _move(os.fsdecode(src), os.fsdecode(dst), rename)

    return moved


def _move(src: str, dst: str, rename: Callable[..., None]) -> None:
    """Copy, let the copy take its place, and remove the original. Raises OSError, as rename does."""
    copy = os.path.join(os.path.dirname(os.path.abspath(dst)), f".{uuid.uuid4().hex[:8]}.tmp")
    is_folder = os.path.isdir(src) and not os.path.islink(src)
    try:
        if is_folder:
            shutil.copytree(src, copy, symlinks=True)
        else:
            shutil.copy2(src, copy, follow_symlinks=False)
        rename(copy, dst)
    except BaseException:
        shutil.rmtree(copy, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError, IsADirectoryError):
            os.unlink(copy)
        raise
    if is_folder:
        shutil.rmtree(src)
    else:
        os.unlink(src)
