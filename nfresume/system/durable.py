"""Files written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path


def write(path: Path, data: bytes) -> None:
    """Write, fsync, rename over `path`, fsync the folder: a reader sees the old file or the new."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise
    fsync_folder(path.parent)


def create(path: Path, data: bytes) -> bool:
    """Write a file that is not there yet; False, and nothing changed, when there is one.

    Whether there is one is decided by the file server: a host may not see for seconds what another made.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    write(temporary, data)
    try:
        os.link(temporary, path, follow_symlinks=False)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
        fsync_folder(path.parent)
    return True


def fsync_folder(folder: str | os.PathLike[str]) -> None:
    """Make renames and new names in `folder` survive a crash."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
