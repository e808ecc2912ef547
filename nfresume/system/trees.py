"""Remove a folder of any depth. shutil.rmtree recurses, and ends at a thousand levels."""

from __future__ import annotations

import itertools
import os
import uuid
from collections.abc import Iterator

from nfresume.system import descriptors


def remove(folder: str) -> None:
    """Remove a folder with all that is in it. No link in it is followed. Raises OSError.

    Each folder in it is moved to its top before it is emptied, so that no path is long.
    """
    nonce = uuid.uuid4().hex
    names = (f"{nonce}.{number}" for number in itertools.count())
    top = os.open(folder, descriptors.DIRECTORY)
    try:
        waiting = _empty(top, top, names)
        while waiting:
            name = waiting.pop()
            inner = descriptors.open_directory(name, top)
            try:
                waiting += _empty(inner, top, names)
            finally:
                os.close(inner)
            os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)
    os.rmdir(folder)


def _empty(fd: int, top: int, names: Iterator[str]) -> list[str]:
    """Remove the files of a folder, and move its folders to the top; returns the names they have there."""
    moved = []
    with os.scandir(fd) as entries:
        found = list(entries)
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            moved.append(next(names))
            descriptors.rename(entry.name, fd, moved[-1], top)
        else:
            os.unlink(entry.name, dir_fd=fd)
    return moved
