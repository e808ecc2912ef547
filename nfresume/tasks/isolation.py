"""A file system of its own for each task, as it has on Latch.

The task sees this machine's files. What it writes to /root or /tmp goes to a folder of its own, and so does
what it writes to its inputs or beside them: they are shown in `.inputs` of its task dir, copy-on-write. The
task dir, the launch dir and folders that the task gets as places for output are what they are everywhere.
When the task has ended, only its outputs stay.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nfresume.system import namespaces, processes

#: Folders to which tasks of Latch files write by absolute path.
PLACES = (Path("/root"), Path("/tmp"))  # noqa: S108
PRIVATE, INPUTS = ".private", ".inputs"
#: At most so many folders of inputs are shown copy-on-write; each one is a mount.
MAX_STAGED = 500


class NotPossible(Exception):
    """This process cannot have a file system of its own here. The message says why."""


@dataclass(frozen=True)
class Wish:
    """What a task needs. `inputs`: its files and folders; `shared`: where it may write for all to see.

    `needed`: where its code is. `project`: the folder of the workflow's package, which is /root on Latch;
    None: it has none. `hidden`: the name of a folder in it that /root does not show, for the results of
    launches. `scratch`: folders for changes that the task dir cannot hold.
    """

    task_dir: Path
    inputs: tuple[str, ...]
    shared: tuple[str, ...]
    scratch: tuple[Path, ...]
    needed: tuple[str, ...] = ()
    project: Path | None = None
    hidden: str | None = None

    @property
    def work(self) -> Path:
        """The work dir, in which the task finds the results of others."""
        return self.task_dir.parent.parent


@dataclass
class View:
    """What a task sees. `staged`: the path that it sees by the path of the input.

    `changes` are the folders that hold what it changes, by the folder in which it sees them. `stage` shows
    another file or folder copy-on-write, or raises OSError.
    """

    staged: dict[str, str] = field(default_factory=dict)
    changes: dict[Path, Path] = field(default_factory=dict)
    origins: dict[Path, Path] = field(default_factory=dict)
    links: dict[str, tuple[str, str]] = field(default_factory=dict)
    stage: Callable[[Path], Path] | None = None

    def original(self, path: str) -> str | None:
        """The path of an unchanged input, or of an unchanged file beside one; None for any other path.

        `links`: what an input that is a link leads to in the view, and its own path.
        """
        if path in self.links and os.path.islink(path) and os.readlink(path) == self.links[path][0]:
            real, own = self.links[path]
            return own if self.original(real) else None
        for top, origin in self.origins.items():
            if (Path(path) == top or top in Path(path).parents) and not self._touched(path, top):
                return str(origin / Path(path).relative_to(top))
        return None

    def _touched(self, path: str, top: Path) -> bool:
        return os.path.lexists(self.changes[top] / Path(path).relative_to(top))

    def covers(self, path: Path) -> bool:
        """Whether `path` is in a folder of which the task has a view of its own."""
        return any(top in path.parents for top in self.changes)

    def wrote(self, path: Path) -> bool:
        """Whether the task wrote to `path` in such a folder, or made it."""
        tops = [top for top in self.changes if top in path.parents]
        return bool(tops) and self._touched(str(path), max(tops, key=lambda top: len(top.parts)))

    def changed_file(self, path: Path) -> Path | None:
        """The file outside of the view that holds what the task wrote to `path`; None: it wrote nothing."""
        for top, changes in self.changes.items():
            if top in path.parents:
                found = changes / path.relative_to(top)
                with contextlib.suppress(OSError):
                    return found if stat.S_ISREG(found.lstat().st_mode) else None
        return None


def enter(wish: Wish) -> View:
    """Give this process, which must have one thread, the task's file system. Raises NotPossible."""
    try:
        user = namespaces.enter()
        view = View()
        bases = _Bases(wish)
        _stage(wish, view, bases, user)
        _make_private(wish, view, bases, user)
    except OSError as e:
        raise NotPossible(e.strerror or str(e)) from None
    os.chdir(wish.task_dir)  # the working folder still was the one below the new mounts
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

    def hiding(self, name: str, lower: list[Path]) -> Path:
        """A folder that hides `name` in `lower`, by the kernel's mark of what was removed. Raises OSError."""
        for base in self._candidates(lower):
            folder = base / "hiding"
            folder.mkdir(parents=True)
            os.mknod(folder / name, stat.S_IFCHR, os.makedev(0, 0))
            return folder
        raise OSError(0, f"there is no place for what hides {name}")

    def _candidates(self, lower: list[Path]) -> Iterator[Path]:
        return (base for base in self._folders if not any(_within(base, folder) for folder in lower))


def _within(path: Path, folder: Path) -> bool:
    real = os.path.realpath(path)
    return os.path.commonpath([real, os.path.realpath(folder)]) == os.path.realpath(folder)


def probe(work: Path) -> str | None:
    """Why tasks here cannot have a file system of their own; None: they can. `work` is a folder."""
    top = Path(tempfile.mkdtemp(prefix=".probe-", dir=work))
    folder = top / "a/b"
    folder.mkdir(parents=True)
    wish = Wish(folder, (), (), scratch_of(folder))
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            enter(wish)
            (folder / "file").write_text("x")
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
            remove(place)
    return None if found == "possible" else found or "the trial has died"


def may_be_shared(path: Path) -> bool:
    """True for a folder that tasks may share: it is not one of PLACES, and contains none of them."""
    real = Path(os.path.realpath(path))
    return not any(real == place or real in place.parents for place in PLACES)


def output_place(path: Path, shared: Path, *, is_folder: bool) -> Path:
    """The folder in which a task may write to `path`. `shared`: a folder that tasks share already.

    A folder for output that is to be in a private place is made: only then it can be shared.
    """
    if shared == path or shared in path.parents:
        return shared
    if not path.is_dir() and not (is_folder and not path.suffix):
        return path.parent
    if not path.exists() and any(place in path.parents for place in PLACES):
        path.mkdir(parents=True)
    return path


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


def _make_private(wish: Wish, view: View, bases: _Bases, user: bool) -> None:
    shared = [wish.work, *(Path(path) for path in wish.shared)]
    needed = [Path(path) for path in (*wish.needed, *(p for p in wish.inputs if p not in view.staged))]
    for place in PLACES:
        if not place.is_dir():
            continue
        inside = _outermost(place, shared)
        mounts = [path for path in _outermost(place, map(Path, namespaces.mount_points()))
                  if not any(path == other or other in path.parents for other in inside)]
        with contextlib.ExitStack() as stack:
            handles = [_handle(path, stack) for path in inside]
            for path in mounts:
                with contextlib.suppress(OSError):  # what others have mounted may be closed to this user
                    handles.append(_handle(path, stack))
            if_hidden = [_handle(path, stack) for path in _outermost(place, needed)]
            view.changes.update(_cover(place, wish, bases, user))
            for path, handle, is_folder in (*handles, *if_hidden):
                if (path, handle, is_folder) in handles or not path.exists():
                    _show(path, handle, is_folder)


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


def _outermost(place: Path, paths: Iterable[Path]) -> list[Path]:
    """Those of the paths that are in `place`, without what is within another of them. Links are followed.

    What cannot be looked at is left out, like a mount whose server has died.
    """
    real = sorted({found for path in paths if os.path.exists(path)
                   and place in (found := Path(os.path.realpath(path))).parents})
    outer: list[Path] = []
    for path in real:  # what is in a folder sorts behind it
        if not any(other in path.parents for other in outer):
            outer.append(path)
    return outer


def _cover(place: Path, wish: Wish, bases: _Bases, user: bool) -> dict[Path, Path]:
    """Cover a place by a private view of it. On Latch /root holds the project, so it does here.

    Returns the folders of the changes, as in View.
    """
    lower = [place] if os.access(place, os.R_OK | os.X_OK) else []
    project = wish.project
    if project is not None and place == PLACES[0]:
        apart = not any(_within(project, other) or _within(other, project) for other in lower)
        shown = [project, *lower] if apart else lower
        if wish.hidden is not None and (apart or project.resolve() == place):
            with contextlib.suppress(OSError):
                return {place: bases.mount([bases.hiding(wish.hidden, shown), *shown], place, user=user)}
        with contextlib.suppress(OSError):
            return {place: bases.mount(shown, place, user=user)}
    if not lower:
        return {place: bases.empty(place)}
    try:
        return {place: bases.mount(lower, place, user=user)}
    except OSError:
        if not user:
            raise
        return _cover_by_entry(place, bases)


def _cover_by_entry(place: Path, bases: _Bases) -> dict[Path, Path]:
    """Cover a place in which something is mounted, which the kernel lets no ordinary user show copy-on-write.

    The folders in it that have no mounts are shown so. Its files are not seen.
    """
    with contextlib.ExitStack() as stack:
        with os.scandir(place) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)][:MAX_STAGED]
        handles: list[tuple[Path, int]] = []
        for name in names:
            with contextlib.suppress(OSError):
                handles.append(_handle(place / name, stack)[:2])
        changes = {place: bases.empty(place)}
        for path, handle in handles:
            path.mkdir()
            try:
                changes[path] = bases.mount([handle], path, user=True, avoid=place)
            except OSError:
                path.rmdir()
    return changes


# -- scratch --------------------------------------------------------------------------------------


def scratch_of(task_dir: Path) -> tuple[Path, ...]:
    """Folders on this machine for changes that the task dir cannot hold; they need not exist yet.

    Their names have the id of this process, which removes them: after its death anyone may.
    """
    me = f"{os.getpid()}-{processes.start_ticks(os.getpid())}-{task_dir.parent.name}{task_dir.name[:12]}"
    return tuple(folder / me for folder in _scratch_folders())


def _scratch_folders() -> Iterator[Path]:
    """This user's scratch folders, made where they are not there; one that somebody else has put there is not
    used."""
    for top in dict.fromkeys((tempfile.gettempdir(), "/var/tmp")):  # noqa: S108
        folder = Path(top) / f"nfresume-{os.geteuid()}"
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, exist_ok=True)
            found = folder.lstat()
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
                yield folder


def tidy_scratch() -> None:
    """Remove what killed tasks have left in this user's scratch folders."""
    for folder in _scratch_folders():
        with contextlib.suppress(OSError):
            for entry in folder.iterdir():
                pid, _, rest = entry.name.partition("-")
                ticks = rest.partition("-")[0]
                if pid.isdecimal() and ticks.isdecimal() and not processes.is_alive(int(pid), int(ticks)):
                    remove(entry)


def remove(folder: Path) -> None:
    """Remove what `enter` has made, except for mounts, which end with the task's last process."""

    def unlock(_call: object, path: str, _error: object) -> None:
        with contextlib.suppress(OSError):  # the kernel makes folders without any permission
            os.chmod(path, 0o700)
            shutil.rmtree(path, ignore_errors=True)

    shutil.rmtree(folder, onerror=unlock)
