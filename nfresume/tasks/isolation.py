"""A file system of its own for each task, as it has on Latch.

The task sees this machine's files. Its working folder is /root: what it writes there, by a relative or an
absolute path, is in `root` of its task dir. Links in it lead to the files of the workflow's folder, and to
what the real /root has. These, /tmp and the inputs are shown copy-on-write: what the task writes to them goes
to a folder of its own. The task dir, the launch dir and folders that the task gets as places for output are
what they are everywhere. When the task has ended, only its outputs stay, and what is in its working folder.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from nfresume.system import namespaces
from nfresume.tasks import scratch, working
from nfresume.tasks.views import INPUTS, PLACES, PRIVATE, ROOT, View, Wish

#: At most so many folders of inputs are shown copy-on-write; each one is a mount.
MAX_STAGED = 500


class NotPossible(Exception):
    """This process cannot have a file system of its own here. The message says why."""


def enter(wish: Wish) -> View:
    """Give this process, which must have one thread, the task's file system. Raises NotPossible."""
    try:
        user = namespaces.enter()
        view = View()
        bases = _Bases(wish)
        _stage(wish, view, bases, user)
        _show_project(wish, view, bases, user)
        _make_private(wish, view, bases, user)
        working.link(wish.working, view.entries)
        if view.home is not None:
            namespaces.bind(view.home, ROOT)
            namespaces.bind(wish.working, ROOT)
            view.is_root = True
    except OSError as e:
        raise NotPossible(e.strerror or str(e)) from None
    return view


class _Bases:
    """Finds folders for changes: in the task dir, or in a scratch folder of this machine."""

    def __init__(self, wish: Wish) -> None:
        self._folders = (wish.task_dir / PRIVATE, *wish.scratch)
        self._count = 0

    def mount(
        self, lower: Sequence[Path | int], target: Path, *, user: bool, avoid: Path | None = None
    ) -> Path:
        """Show `lower` at `target`, copy-on-write; returns the folder of the changes. Raises OSError.

        `avoid`: a folder that cannot hold them, beside `lower`.
        """
        problem = OSError(0, f"there is no place for changes of {target}")
        closed = [path for path in (*lower, avoid) if isinstance(path, Path)]
        for base in self._candidates(closed):
            self._count += 1
            try:
                return namespaces.overlay(lower, base / str(self._count), target, user=user)
            except OSError as e:
                problem = e
        raise problem

    def empty(self, target: Path) -> Path:
        """Show an empty folder at `target`. Returns that folder. Raises OSError."""
        self._count += 1
        base = next(self._candidates([target])) / str(self._count)
        base.mkdir(parents=True)
        namespaces.bind(base, target)
        return base

    def _candidates(self, lower: list[Path]) -> Iterator[Path]:
        return (base for base in self._folders if not any(_within(base, folder) for folder in lower))


def _within(path: Path, folder: Path) -> bool:
    real = os.path.realpath(path)
    return os.path.commonpath([real, os.path.realpath(folder)]) == os.path.realpath(folder)


def probe(work: Path) -> str | None:
    """Why tasks here cannot have a file system of their own; None: they can. `work` is a folder."""
    top = Path(tempfile.mkdtemp(prefix=".probe-", dir=work))
    folder = top / "a/b"
    wish = Wish(folder, (), (), scratch.of(folder))
    wish.working.mkdir(parents=True)
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            enter(wish)
            (wish.working / "file").write_text("x")
            os.write(write_end, b"possible")
        except (NotPossible, OSError) as e:
            os.write(write_end, str(e).encode()[:4000])
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as answer:
        found = answer.read().decode()
    os.waitpid(pid, 0)
    for place in (top, *wish.scratch):
        if place.exists():
            scratch.remove(place)
    return None if found == "possible" else found or "the trial has died"


# -- inputs ---------------------------------------------------------------------------------------


def _stage(wish: Wish, view: View, bases: _Bases, user: bool) -> None:
    """Show the inputs copy-on-write in the task dir. One that cannot be shown so keeps its path."""
    mounts = namespaces.mount_points()
    tops: dict[tuple[Path, str], Path] = {}

    def show(folder: Path, name: str) -> Path:
        if (folder, name) not in tops:
            if len(tops) >= MAX_STAGED or _holds_mounts(folder, mounts):
                raise OSError(0, f"{folder} cannot be shown copy-on-write")
            top = wish.task_dir / INPUTS / str(len(tops)) / name
            top.mkdir(parents=True)
            view.changes[top] = bases.mount([folder], top, user=user)
            view.origins[top] = folder
            tops[folder, name] = top
        return tops[folder, name]

    def stage(source: Path) -> Path:
        if not source.is_dir():
            return _show_file(source, show, view)
        if not source.is_symlink():
            with contextlib.suppress(OSError):  # a folder in a mount can be moved and removed, a mount cannot
                return show(source.parent, source.parent.name) / source.name
        return show(source, source.name)

    for path in dict.fromkeys(wish.inputs):
        with contextlib.suppress(OSError):
            if os.path.isdir(path) or os.path.isfile(path):
                view.staged[path] = str(stage(Path(path)))
    view.stage = stage


def _show_file(source: Path, show: Callable[[Path, str], Path], view: View) -> Path:
    """Show the folder of a file, with what lies beside it. A link leads to a view of the real file."""
    seen = show(source.parent, source.parent.name) / source.name
    if source.is_symlink() and str(seen) not in view.links:
        real = source.resolve()
        target = show(real.parent, real.parent.name) / real.name
        seen.unlink()
        seen.symlink_to(target)
        view.links[str(seen)] = (str(target), str(source))
    return seen


def _holds_mounts(folder: Path, mounts: list[str]) -> bool:
    """True when other file systems are mounted in a folder: a copy-on-write view would not show them."""
    real = Path(os.path.realpath(folder))
    return any(real in Path(mount).parents for mount in mounts)


# -- private folders ------------------------------------------------------------------------------


def _show_project(wish: Wish, view: View, bases: _Bases, user: bool) -> None:
    """Show the files of the workflow's folder in the working folder. On Latch they are copied to /root."""
    project = wish.project
    if project is None or os.path.realpath(project) == str(ROOT):
        return
    top = wish.task_dir / INPUTS / "project"
    top.mkdir(parents=True)
    with contextlib.suppress(OSError):
        view.changes[top] = bases.mount([project], top, user=user)
        view.entries.update((path.name, path) for path in working.entries_of(top)
                            if not path.name.startswith(".") and path.name != wish.hidden)


def _show_home(wish: Wish, view: View) -> Path:
    """A folder outside of /root for a view of the real one, which is covered. Raises OSError."""
    for base in (wish.task_dir / INPUTS, *wish.scratch):
        if not _within(base, ROOT):
            home = base / "home"
            home.mkdir(parents=True)
            view.home = home
            return home
    raise OSError(0, f"there is no place outside of {ROOT} for what it has")


def _make_private(wish: Wish, view: View, bases: _Bases, user: bool) -> None:
    shared = _real((wish.work, *wish.shared))
    needed = _real((*wish.needed, *(path for path in wish.inputs if path not in view.staged)))
    for place in PLACES:
        if not place.is_dir():
            continue
        inside = _outermost(place, shared)
        mounts = [path for path in _outermost(place, namespaces.mount_points())
                  if not any(path == other or other in path.parents for other in inside)]
        with contextlib.ExitStack() as stack:
            handles = [_handle(path, stack) for path in inside]
            for path in mounts:
                with contextlib.suppress(OSError):  # what others have mounted may be closed to this user
                    handles.append(_handle(path, stack))
            if_hidden = [_handle(path, stack) for path in _outermost(place, needed)]
            at = _show_home(wish, view) if place == ROOT else place
            view.changes.update(_cover(place, at, bases, user))
            for path, handle, is_folder in (*handles, *if_hidden):
                seen = at / path.relative_to(place)
                if (path, handle, is_folder) in handles or not seen.exists():
                    _show(seen, handle, is_folder)
    if view.home is not None:
        is_project = wish.project is not None and os.path.realpath(wish.project) == str(ROOT)
        found = {path.name: path for path in working.entries_of(view.home) if path.name != wish.hidden
                 and (is_project or _belongs(path))}
        kept = {path.parts[2]: view.home / path.parts[2] for path in map(Path, (*shared, *needed))
                if ROOT in path.parents}
        view.entries = {**found, **view.entries, **kept}


def _belongs(path: Path) -> bool:
    """Whether the working folder shows this of the real /root: tools, settings and modules, but no data.

    A task that takes all `*.csv` of its working folder for its results must not find a user's own there.
    """
    return path.name.startswith(".") or path.suffix == ".py" or path.is_dir()


def _show(path: Path, handle: int, is_folder: bool) -> None:
    if is_folder:
        path.mkdir(parents=True, exist_ok=True)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    namespaces.bind(handle, path)


def _handle(path: Path, stack: contextlib.ExitStack) -> tuple[Path, int, bool]:
    """A path, an open descriptor of it, and whether it is a folder."""
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    stack.callback(os.close, fd)
    return path, fd, path.is_dir()


def _real(paths: Iterable[str | os.PathLike[str]]) -> set[str]:
    """The paths, free of links, of those that are there."""
    return {os.path.realpath(path) for path in paths if os.path.exists(path)}


def _outermost(place: Path, paths: Iterable[str]) -> list[Path]:
    """Those of the paths, free of links, that are in `place`, without what is within another of them.

    What cannot be looked at is left out, like a mount whose server has died.
    """
    outer: list[str] = []
    for path in sorted(paths):  # what is in a folder sorts behind it
        if path.startswith(f"{place}/") and not any(
                path.startswith(f"{other}/") for other in outer) and os.path.exists(path):
            outer.append(path)
    return [Path(path) for path in outer]


def _cover(place: Path, at: Path, bases: _Bases, user: bool) -> dict[Path, Path]:
    """Show a private view of a place at `at`. Returns the folders of the changes, as in View."""
    if not os.access(place, os.R_OK | os.X_OK):
        return {at: bases.empty(at)}
    try:
        return {at: bases.mount([place], at, user=user)}
    except OSError:
        if not user:
            raise
        return _cover_by_entry(place, at, bases)


def _cover_by_entry(place: Path, at: Path, bases: _Bases) -> dict[Path, Path]:
    """Show a place in which something is mounted, which the kernel lets no ordinary user show copy-on-write.

    The folders in it that have no mounts are shown so. Its files are not seen.
    """
    with contextlib.ExitStack() as stack:
        with os.scandir(place) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)][:MAX_STAGED]
        handles: list[tuple[Path, int]] = []
        for name in names:
            with contextlib.suppress(OSError):
                handles.append((at / name, _handle(place / name, stack)[1]))
        changes = {at: bases.empty(at)}
        for path, handle in handles:
            path.mkdir()
            try:
                changes[path] = bases.mount([handle], path, user=True, avoid=place)
            except OSError:
                path.rmdir()
    return changes
