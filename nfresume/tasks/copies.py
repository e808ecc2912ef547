"""A task's own copies of its inputs where it has no view of them: without namespaces, and in a container.

The copies are in `.inputs` of the task dir and go with it. So a task may edit its inputs, move them and write
beside them, and only its result shows it. Where the file system shares blocks between files (reflink), a
copy costs nothing. Elsewhere at most MAX_BYTES are copied for a task. The files over that are shown as links
to the originals: such a file can be moved, removed or replaced, but a task that writes into it fails when it
has ended.
"""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from nfresume.system import trees
from nfresume.tasks import task_files
from nfresume.tasks.views import INPUTS, View, Wish

#: At most so many bytes are copied for a task, where blocks cannot be shared.
MAX_BYTES = 1 << 30
#: An input keeps its own path when more than so many files and folders lie beside it, or in it.
MAX_BESIDE, MAX_INSIDE = 500, 20_000


@dataclass
class Copies(View):
    """Copies of the inputs in `staged`. `linked`: the inputs, and files in them, that are shown as links."""

    linked: list[str] = field(default_factory=list)
    _left: int = MAX_BYTES
    _stamps: dict[str, tuple[str, str]] = field(default_factory=dict)

    def original(self, path: str) -> str | None:
        """The path of an unchanged input; None for any other path."""
        source, before = self._stamps.get(path, (None, ""))
        return source if os.path.lexists(path) and _stamp(path) == before else None

    def changed_file(self, path: Path) -> Path | None:
        """The path itself if it is a file among the copies, which go with the task."""
        if any(Path(copy).parent in path.parents for copy in self.staged.values()):
            with contextlib.suppress(OSError):
                return path if stat.S_ISREG(path.lstat().st_mode) else None
        return None

    def add(self, source: Path, folder: Path) -> None:
        """Show an input in a folder, a file with what lies beside it. Raises OSError if that is too much."""
        target = folder / source.name
        if source.is_dir():
            _check_count(source)
            self._copy_folder(source, target, source.resolve())
        else:
            if not folder.exists():
                _link_all(source.parent, folder)
            target.unlink()
            self._place(source, target)
            self._copy_companions(source, folder)
        self.staged[str(source)] = str(target)
        self._stamps[str(target)] = str(source), _stamp(str(target))

    def _copy_companions(self, source: Path, folder: Path) -> None:
        """Copy what belongs to a file by its name, such as its index: tools write it anew."""
        known = {Path(copy) for copy in self.staged.values()}
        for path in sorted(folder.glob("*")):
            other = source.with_name(path.name)
            belongs = path.name.startswith((source.name + ".", source.stem + ".")) and path not in known
            if belongs and path.name != source.name and path.is_symlink() and other.is_file():
                path.unlink()
                self._place(other, path, own=False)

    def _copy_folder(self, source: Path, target: Path, top: Path) -> None:
        """Copy a folder. Links in it stay links."""
        target.mkdir(parents=True)
        with os.scandir(source) as entries:
            for entry in entries:
                here, there = Path(entry.path), target / entry.name
                if entry.is_symlink():
                    there.symlink_to(_link_text(here, source, top))
                elif entry.is_dir():
                    self._copy_folder(here, there, top)
                else:
                    self._place(here, there)
        with contextlib.suppress(OSError):
            os.utime(target, ns=(source.stat().st_atime_ns, source.stat().st_mtime_ns))

    def _place(self, source: Path, target: Path, *, own: bool = True) -> None:
        """Show a file: as a copy, or as a link if it is too large or unreadable. `own`: it is an input."""
        if source.is_file() and os.access(source, os.R_OK):
            if task_files.clone(source, target):
                return
            size = source.stat().st_size
            if size <= self._left:
                self._left -= size
                task_files.copy(source, target)
                return
        target.symlink_to(source)
        if own:
            self.linked.append(str(source))


def of(wish: Wish, limit: int = MAX_BYTES) -> Copies:
    """Make the copies, of at most `limit` bytes. An input that cannot be copied keeps its own path."""
    view = Copies(_left=limit)
    folders: dict[Path, Path] = {}
    for path in dict.fromkeys(wish.inputs):
        source = Path(path)
        if source.is_dir() or source.is_file():
            key, name = (source, "") if source.is_dir() else (source.parent, source.parent.name)
            folder = folders.setdefault(key, wish.task_dir / INPUTS / str(len(folders)) / name)
            with contextlib.suppress(OSError):
                view.add(source, folder)
    return view


def _link_all(source: Path, folder: Path) -> None:
    """Fill a new folder with links to what is in another one. Raises OSError when that is too much."""
    with os.scandir(source) as found:
        entries = [entry.path for entry, _ in zip(found, range(MAX_BESIDE + 1), strict=False)]
    if len(entries) > MAX_BESIDE:
        raise OSError(f"{source} has more entries than are shown")
    folder.mkdir(parents=True)
    for path in entries:
        (folder / os.path.basename(path)).symlink_to(path)


def _check_count(folder: Path) -> None:
    count = 0
    for _, folders, files in trees.walk(folder):
        count += len(folders) + len(files)
        if count > MAX_INSIDE:
            raise OSError(f"{folder} has more entries than are copied")


def _link_text(link: Path, folder: Path, top: Path) -> str:
    """The text of a link in a copied folder. It leads to the copy of what is in `top`."""
    real = Path(os.path.realpath(link))
    if real == top or top in real.parents:
        return os.path.relpath(real, folder.resolve())
    return str(folder / os.readlink(link))


def _stamp(path: str) -> str:
    """The stamp of a copy. That of a link is what it leads to."""
    return os.readlink(path) if os.path.islink(path) else task_files.stamp(Path(path))
