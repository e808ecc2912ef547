"""The files that may be chosen for a parameter: those in the folders of the setting `web_data`.

A path from a browser is looked up name by name from an allowed folder. No link is followed that leads out of
the allowed folders, nothing hidden is shown, and nothing of nfresume or of another account.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from nfresume.domain.errors import NfresumeError, NotFound
from nfresume.domain.wording import sendable
from nfresume.service import boundary
from nfresume.settings import Settings
from nfresume.system import descriptors

#: So many entries are on a page.
PAGE = 100
#: So many names of a folder are read, and so many of them are looked at to be sorted by size or time.
MOST_READ, MOST_SORTED = 200_000, 10_000
SORTS = ("name", "size", "newest")
_NUMBERS = re.compile(r"([0-9]+)")
#: Stands for the account in a folder of `web_data`.
_ACCOUNT = "{account}"


@dataclass(frozen=True)
class Entry:
    """A file or folder. `path` is what a parameter gets; empty for one that cannot be chosen, and `why`."""

    name: str
    path: str
    is_folder: bool = False
    size: int = 0
    changed: datetime | None = None
    why: str = ""


@dataclass(frozen=True)
class Listing:
    """A page of a folder. `above` leads to it from its allowed folder.

    `total` entries match; `complete` is False when the folder has more than are read. `sort` is their order:
    by name, where there are too many for another one.
    """

    folder: Path
    above: tuple[Path, ...]
    entries: tuple[Entry, ...]
    total: int
    start: int
    sort: str
    complete: bool


@dataclass(frozen=True)
class _Place:
    """A folder without links: the allowed folder that it is in, and the names from there."""

    top: Path
    names: tuple[str, ...]


def allowed(conf: Settings) -> list[Path]:
    """The folders whose files the account may choose."""
    return [Path(text.replace(_ACCOUNT, conf.account)) for text in conf.web_data]


def start_at(conf: Settings, text: str) -> str:
    """The folder in which a choice begins: that of the path in a field, or the only allowed one; else "".
    """
    for path in (text, os.path.dirname(text)):
        try:
            place = _place(conf, _above(conf, path)[0])
        except NfresumeError:
            continue
        if os.path.isdir(place.top.joinpath(*place.names)):
            return path
    tops = allowed(conf)
    return str(tops[0]) if len(tops) == 1 else ""


def listing(conf: Settings, path: str, sort: str = "name", find: str = "", start: int = 0) -> Listing:
    """A page of an allowed folder: of the names with the text `find`, from number `start` on.

    Raises NotFound for any other folder.
    """
    folder, above = _above(conf, path)
    place = _place(conf, folder)
    look = _Look(conf, folder, place)
    try:
        with descriptors.of(place.top) as top, descriptors.below(top, place.names) as fd:
            return look.page(fd, above, sort if sort in SORTS else "name", find, max(0, start))
    except OSError as error:
        raise NotFound(f"{path} cannot be read: {error.strerror}", "choose another folder") from None


def check(conf: Settings, path: str) -> str:
    """A path that was chosen. Raises NotFound unless it is a file or folder that may be chosen."""
    folder, _ = _above(conf, path)
    place = _place(conf, folder)
    try:
        found = os.lstat(place.top.joinpath(*place.names))
    except OSError as error:
        raise NotFound(f"{path} cannot be read: {error.strerror}", "choose another one") from None
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
        raise _refused(path)
    return path


def _refused(path: str) -> NotFound:
    return NotFound(f"{path[:300]!r} is in no folder whose files may be chosen",
                    "web_data in the site's settings lists these folders")


def _above(conf: Settings, text: str) -> tuple[Path, tuple[Path, ...]]:
    """A path as it was sent, and the folders that lead to it, from the allowed one on. Raises NotFound."""
    if not text.startswith("/") or "\0" in text or ".." in text.split("/"):
        raise _refused(text)
    path = Path(text)
    for top in sorted(allowed(conf), key=lambda each: -len(each.parts)):
        if path == top or top in path.parents:
            names = path.relative_to(top).parts
            if any(_is_hidden(name) for name in names):
                raise _refused(text)
            return path, tuple(top.joinpath(*names[:n]) for n in range(len(names) + 1))
    raise _refused(text)


def _place(conf: Settings, path: Path) -> _Place:
    """Where a path leads once its links are followed. Raises NotFound if that is no allowed folder."""
    try:
        real = Path(os.path.realpath(path))
    except (OSError, ValueError):
        raise _refused(str(path)) from None
    for top in allowed(conf):
        place = Path(os.path.realpath(top))
        if real == place or place in real.parents:
            names = real.relative_to(place).parts
            hidden = any(_is_hidden(name) for name in names)
            if not hidden and not boundary.is_private(conf, real, boundary.private_places(conf)):
                return _Place(place, names)
    raise _refused(str(path))


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


class _Look:
    """Reads one folder."""

    def __init__(self, conf: Settings, folder: Path, place: _Place) -> None:
        self._conf = conf
        self._folder = folder
        self._real = place.top.joinpath(*place.names)
        self._private = [each.name for each in boundary.private_places(conf) if each.parent == self._real
                         and boundary.is_private(conf, each, [each])]

    def page(self, fd: int, above: tuple[Path, ...], sort: str, find: str, start: int) -> Listing:
        """A page of the folder that is open as `fd`."""
        folders, others, complete = self._names(fd, find.casefold())
        total = len(folders) + len(others)
        if sort != "name" and total > MOST_SORTED:
            sort = "name"
        names = sorted(folders, key=_order(fd, "name" if sort == "size" else sort))
        names += sorted(others, key=_order(fd, sort))
        start = start if start < total else 0
        shown = tuple(self._entry(fd, name) for name in names[start:start + PAGE])
        return Listing(self._folder, above, shown, total, start, sort, complete)

    def _names(self, fd: int, find: str) -> tuple[list[str], list[str], bool]:
        """The names of folders, and those of files and links, of the first MOST_READ entries."""
        folders: list[str] = []
        others: list[str] = []
        with os.scandir(fd) as entries:
            for count, entry in enumerate(entries, 1):
                if count > MOST_READ:
                    return folders, others, False
                if _is_hidden(entry.name) or entry.name in self._private or find not in entry.name.casefold():
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                elif entry.is_symlink() or entry.is_file(follow_symlinks=False):
                    others.append(entry.name)
        return folders, others, True

    def _entry(self, fd: int, name: str) -> Entry:
        path = str(self._folder / name)
        try:
            found = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if stat.S_ISLNK(found.st_mode):
                place = _place(self._conf, self._real / name)
                found = os.lstat(place.top.joinpath(*place.names))
        except NotFound:
            return Entry(name, "", why="a link out of the folders")
        except OSError as error:
            return Entry(name, "", why=error.strerror or "cannot be read")
        why = "" if sendable(path) == path and "\n" not in path else "a name that no form can send"
        is_folder = stat.S_ISDIR(found.st_mode)
        if not is_folder and not stat.S_ISREG(found.st_mode):
            why = "neither a file nor a folder"
        return Entry(name, "" if why else path, is_folder, found.st_size,
                     datetime.fromtimestamp(found.st_mtime, UTC), why)


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """A key by which s2 comes before s10, and digits before letters, without regard to case."""
    return [(False, int(part), "") if at % 2 else (True, 0, part)
            for at, part in enumerate(_NUMBERS.split(name.casefold())) if part]


def _order(fd: int, sort: str) -> Callable[[str], tuple[float, list[tuple[bool, int, str]], str]]:
    """The key by which names are sorted: the largest or newest first, or by name."""

    def key(name: str) -> tuple[float, list[tuple[bool, int, str]], str]:
        value = 0.0
        if sort != "name":
            try:
                found = os.stat(name, dir_fd=fd, follow_symlinks=False)
                value = -found.st_size if sort == "size" else -found.st_mtime
            except OSError:
                value = 0.0
        return value, _natural(name), name

    return key
