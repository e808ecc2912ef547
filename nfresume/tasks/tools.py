"""Programs that a task names by a path relative to /root, the folder in which tasks start on Latch.

Latch's own template calls `bowtie2/bowtie2` so. Here a task starts in a folder of its own. So links to the
programs of /root, and to its folders that have programs, are in that folder while the task's function runs.
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


@contextlib.contextmanager
def linked(task_dir: Path, top: Path | None) -> Iterator[None]:
    """Until the end of the block, link the programs of the folder `top` into the task dir.

    What the task dir has already stays.
    """
    links = []
    for path in _tools(top) if top is not None else ():
        with contextlib.suppress(OSError):
            (task_dir / path.name).symlink_to(path)
            links.append(task_dir / path.name)
    try:
        yield
    finally:
        for link in links:
            if link.is_symlink():
                link.unlink()


def _tools(top: Path) -> Iterator[Path]:
    for path in _entries(top):
        if path.name.startswith(".") or path.name == OUTPUT:
            continue
        if _is_program(path) or (path.is_dir() and not (path / "__init__.py").exists()
                                 and any(map(_is_program, _entries(path)))):
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
