"""Walk through a folder of any depth, or remove it. shutil.rmtree recurses, and ends at a thousand levels."""

from __future__ import annotations

import itertools
import os
import uuid
from collections.abc import Callable, Iterator

from nfresume.system import descriptors


def _refuse(error: OSError) -> None:
    raise error


def walk(
    top: str | os.PathLike[str], unreadable: Callable[[OSError], None] = _refuse
) -> Iterator[tuple[str, list[str], list[str]]]:
    """Each folder, its folders and its other entries, as os.walk gives them from the top down.

    os.walk passes over what it cannot list, as if it were empty. Here `unreadable` is called, which raises
    the error if nothing else is given. A folder that is gone is passed over. No link is followed; one to a
    folder is among the folders.
    """
    waiting = [os.fspath(top)]
    while waiting:
        here = waiting.pop()
        try:
            with os.scandir(here) as found:
                entries = list(found)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as e:
            unreadable(e)
            continue
        folders = [entry.name for entry in entries if _is_folder(entry)]
        known = set(folders)
        yield here, folders, [entry.name for entry in entries if entry.name not in known]
        below = (os.path.join(here, name) for name in reversed(folders))
        waiting += [path for path in below if not os.path.islink(path)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


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
