"""Copy, stamp and publish the files of tasks."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from pathlib import Path

_FICLONE = 0x40049409  # linux/fs.h


def copy(source: Path, target: Path) -> None:
    """Copy a file or folder. Where the file system supports it, blocks are shared copy-on-write.

    It never makes hard links, because a task that writes to its input would change the original. If `source`
    is a link, it is followed; links inside a folder are copied as links. Raises OSError.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, copy_function=_copy_file)
    else:
        _copy_file(str(source), str(target))


def _copy_file(source: str, target: str) -> str:
    with open(source, "rb") as read, open(target, "wb") as write:
        try:
            fcntl.ioctl(write.fileno(), _FICLONE, read.fileno())
        except OSError:
            shutil.copyfileobj(read, write, 4 << 20)
    with contextlib.suppress(OSError):
        shutil.copystat(source, target)
    return target


def stamp(path: Path) -> str:
    """Size and time stamp of a file, or the totals of a folder. A change of content changes the stamp.

    The content is not read. Raises OSError when there is nothing at `path`.
    """
    status = path.stat()
    if not path.is_dir():
        return f"{status.st_size}:{status.st_mtime_ns}"
    count = size = newest = 0
    for parent, folders, files in os.walk(path):
        for name in (*folders, *files):
            found = os.lstat(os.path.join(parent, name))
            count, size = count + 1, size + (found.st_size if name in files else 0)
            newest = max(newest, found.st_mtime_ns)
    return f"{count}:{size}:{newest}"


def publish_target(path: str, remote: str, output: Path) -> Path:
    """Where to publish a file with a remote URL: `latch:///a/b` goes to `<output>/a/b`, never outside."""
    rest = remote.split("://", 1)[1]
    if remote.startswith("latch:") and not rest.startswith("/"):
        rest = rest.partition("/")[2]  # latch://<account>/path
    parts = [part for part in rest.split("/") if part not in ("", ".", "..")]
    return output.joinpath(*parts) if parts else output / Path(path).name


def publish(source: Path, target: Path) -> None:
    """Copy `source` to `target`: a file completely or not at all, a folder by merging. Raises OSError."""
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, copy_function=_copy_file, dirs_exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir():
        target /= source.name
    beside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        _copy_file(str(source), str(beside))
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
