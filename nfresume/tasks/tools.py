"""Programs and scripts that a task names by a path relative to /root, in which tasks start on Latch.

Latch's own template calls `bowtie2/bowtie2` so, and many files call `python scripts/a.py` or `Rscript a.R`.
Here a task starts in a folder of its own. So links to the programs and scripts of /root, and to its folders
that have some, are in that folder while the task's function runs.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from nfresume.tasks.calls import OUTPUT

#: So many files of a folder are looked at, to see whether it has programs.
_LOOKED_AT = 200
#: What scripts end in that are passed to an interpreter, and so need not be executable.
_SCRIPTS = (".py", ".r", ".sh", ".pl", ".jl")


@contextlib.contextmanager
def linked(task_dir: Path, top: Path | None, project: Path | None) -> Iterator[None]:
    """Until the end of the block, link the programs and scripts of the folder `top` into the task dir.

    Scripts are those of `project`, the workflow's folder, which `top` shows. What the task dir has already
    stays.
    """
    links = []
    for path in _tools(top, project) if top is not None else ():
        with contextlib.suppress(OSError):
            (task_dir / path.name).symlink_to(path)
            links.append(task_dir / path.name)
    try:
        yield
    finally:
        for link in links:
            if link.is_symlink():
                link.unlink()


def _tools(top: Path, project: Path | None) -> Iterator[Path]:
    for path in _entries(top):
        if path.name.startswith(".") or path.name == OUTPUT:
            continue
        scripts = project is not None and (project / path.name).exists()
        found = [path] if not path.is_dir() else [] if (path / "__init__.py").exists() else _entries(path)
        if any(_is_program(each) or (scripts and each.suffix.lower() in _SCRIPTS) for each in found):
            yield path


def _entries(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as found:
            return [Path(entry.path) for entry in itertools.islice(found, _LOOKED_AT)]
    except OSError:
        return []


def _is_program(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) and bool(mode & stat.S_IXUSR)
