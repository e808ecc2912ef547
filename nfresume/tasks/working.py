"""The working folder of a task: `root` of its task dir. On Latch it is /root, where the workflow's files lie.

Where a task has a file system of its own, the two are one folder (`isolation`), with links to these files.
Elsewhere it has links to the programs and scripts of the workflow's folder only, because a task that writes
through a link would change the user's own file. An output that the task wrote here may be named in /root
there, or the other way round.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nfresume.system import namespaces
from nfresume.tasks import values
from nfresume.tasks.calls import OUTPUT
from nfresume.tasks.outputs import BadOutput
from nfresume.tasks.views import ROOT, View, Wish

#: At most so many links are made.
MAX_LINKS = 1000
#: So many files of a folder are looked at, to see whether it has programs.
_LOOKED_AT = 200
#: What scripts end in that are passed to an interpreter, and so need not be executable.
_SCRIPTS = (".py", ".r", ".sh", ".pl", ".jl")


def link(folder: Path, entries: Mapping[str, Path]) -> None:
    """Make links to `entries`, by name. What the folder has already stays."""
    for name, target in itertools.islice(sorted(entries.items()), MAX_LINKS):
        with contextlib.suppress(OSError):
            (folder / name).symlink_to(target)


def of_image() -> dict[str, Path]:
    """What a working folder shows in a container: what /root of the image has."""
    return {path.name: path for path in entries_of(ROOT) if not path.name.startswith(".")}


def programs(project: Path | None) -> dict[str, Path]:
    """The programs and scripts of the workflow's folder, and its folders that have some."""
    found = {}
    for path in entries_of(project, _LOOKED_AT) if project is not None else ():
        if path.name.startswith(".") or path.name == OUTPUT:
            continue
        inside = [path] if not path.is_dir() else [] if (path / "__init__.py").exists() else entries_of(
            path, _LOOKED_AT)
        if any(_is_program(each) or each.suffix.lower() in _SCRIPTS for each in inside):
            found[path.name] = path
    return found


def entries_of(folder: Path, limit: int = MAX_LINKS) -> list[Path]:
    """What is directly in a folder, up to a limit; nothing if it cannot be read."""
    try:
        with os.scandir(folder) as found:
            return [Path(entry.path) for entry in itertools.islice(found, limit)]
    except OSError:
        return []


def _is_program(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) and bool(mode & stat.S_IXUSR)


# -- outputs --------------------------------------------------------------------------------------


def folder(wish: Wish, view: View) -> Path:
    """The working folder as the task sees it."""
    return ROOT if view.is_root else wish.working


def places(outputs: Any, wish: Wish, view: View) -> dict[str, str]:
    """Where the task sees those outputs that lie in its working folder, by the path that it gave.

    Raises BadOutput for what lies behind a dot in the real /root, such as a key, unless the task wrote it.
    """
    found = {}
    for path in map(Path, dict.fromkeys(values.paths_in(outputs))):
        rest = _rest(path, wish)
        place = None if rest is None or (not view.is_root and path == ROOT) else _place(rest, wish, view)
        if place is not None and place != path and os.path.lexists(place):
            found[str(path)] = str(place)
    return found


def _rest(path: Path, wish: Wish) -> Path | None:
    """The path relative to the working folder; None: it is elsewhere."""
    if path == wish.working or wish.working in path.parents:
        return path.relative_to(wish.working)
    if ROOT not in (path, *path.parents) or str(path) in wish.given or _is_shared(path, wish):
        return None
    return path.relative_to(ROOT)


def _is_shared(path: Path, wish: Wish) -> bool:
    return any(top == path or top in path.parents for top in (wish.work, *map(Path, wish.shared)))


def _place(rest: Path, wish: Wish, view: View) -> Path | None:
    here, there = folder(wish, view) / rest, ROOT / rest
    if not view.is_root and not os.path.lexists(here):
        return there  # what is in neither folder is said by the path that the task gave
    name = rest.parts[0] if rest.parts else ""
    target = view.entries.get(name)
    if target is None or not _leads_to(folder(wish, view) / name, target):
        return here
    place = target.joinpath(*rest.parts[1:])
    if _is_shared(there, wish):
        return there
    if not name.startswith("."):
        return place
    if (change := view.change(place)) is None and os.path.lexists(place):
        raise BadOutput(f"its output {there} is not of this task: it is in the home of root")
    return place if place.is_file() else change


def _leads_to(link_path: Path, target: Path) -> bool:
    return link_path.is_symlink() and os.readlink(link_path) == str(target)


def leave(wish: Wish, view: View) -> None:
    """Make /root what it was, and remove the links. What the task wrote stays: see `kept`."""
    os.chdir(wish.task_dir.anchor)
    if view.is_root:
        namespaces.detach(ROOT)
    os.chdir(wish.task_dir)
    for name, target in view.entries.items():
        if _leads_to(wish.working / name, target):
            (wish.working / name).unlink()


def kept(outputs: Any, wish: Wish) -> dict[str, str]:
    """Where everyone sees the outputs that are in the working folder, by the path that the task saw."""
    rests = {path: _rest(Path(path), wish) for path in values.paths_in(outputs)}
    return {path: str(wish.working / rest) for path, rest in rests.items()
            if rest is not None and os.path.lexists(wish.working / rest)}


def tidy(wish: Wish) -> None:
    """Remove the links that a task left which did not end well, when what they led to is gone."""
    for path in entries_of(wish.working):
        if path.is_symlink() and not os.path.exists(path):
            path.unlink()
