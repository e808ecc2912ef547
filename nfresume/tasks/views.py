"""What a task needs of the file system, and what it sees of it."""

from __future__ import annotations

import contextlib
import functools
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

#: The folder in which tasks start on Latch. The workflow's folder and the tools of its image lie there.
ROOT = Path("/root")
#: Folders to which tasks of Latch files write by absolute path.
PLACES = (ROOT, Path("/tmp"))  # noqa: S108
PRIVATE, INPUTS = ".private", ".inputs"
#: The working folder of a task, in its task dir. It has the name of the one on Latch.
WORKING = "root"


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

    @functools.cached_property
    def given(self) -> frozenset[str]:
        """Its inputs, to look one up."""
        return frozenset(self.inputs)

    @property
    def work(self) -> Path:
        """The work dir, in which the task finds the results of others."""
        return self.task_dir.parent.parent

    @property
    def working(self) -> Path:
        """The working folder."""
        return self.task_dir / WORKING


@dataclass
class View:
    """What a task sees. `staged`: the path that it sees by the path of the input.

    `changes` are the folders that hold what it changes, by the folder in which it sees them. `stage` shows
    another file or folder copy-on-write, or raises OSError. `is_root`: the working folder is /root for the
    task. `entries`: what the working folder shows by links, by name. `home`: a view of the real /root.
    """

    staged: dict[str, str] = field(default_factory=dict)
    changes: dict[Path, Path] = field(default_factory=dict)
    origins: dict[Path, Path] = field(default_factory=dict)
    links: dict[str, tuple[str, str]] = field(default_factory=dict)
    stage: Callable[[Path], Path] | None = None
    is_root: bool = False
    entries: dict[str, Path] = field(default_factory=dict)
    home: Path | None = None

    def original(self, path: str) -> str | None:
        """The path of an unchanged input, or of an unchanged file beside one; None for any other path.

        `links`: what an input that is a link leads to in the view, and its own path.
        """
        if path in self.links and os.path.islink(path) and os.readlink(path) == self.links[path][0]:
            real, own = self.links[path]
            return own if self.original(real) else None
        for top, origin in self.origins.items():
            if Path(path) == top or top in Path(path).parents:
                rest = Path(path).relative_to(top)
                if not os.path.lexists(self.changes[top] / rest):
                    return str(origin / rest)
        return None

    def change(self, path: Path) -> Path | None:
        """Where outside of the view is what the task wrote to `path`; None: it wrote nothing."""
        tops = [top for top in self.changes if top in path.parents]
        if not tops:
            return None
        top = max(tops, key=lambda top: len(top.parts))
        found = self.changes[top] / path.relative_to(top)
        return found if os.path.lexists(found) else None

    def changed_file(self, path: Path) -> Path | None:
        """The file outside of the view that holds what the task wrote to `path`; None: it wrote nothing."""
        found, real = self.change(path), Path(os.path.realpath(path))
        if self.home is not None and self.home in real.parents and self.change(real) is None:
            name = real.relative_to(self.home)
            if name.parts[0].startswith("."):
                raise OSError(f"{ROOT / name} is not of this task: it is in the home of root")
        with contextlib.suppress(OSError):
            return found if found is not None and stat.S_ISREG(found.lstat().st_mode) else None
        return None


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
