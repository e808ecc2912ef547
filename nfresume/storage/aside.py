"""Move task dirs aside that no resume must use: unfinished ones, and failed ones.

They go to `work/.unfinished/<run>/ab-cdef...`, where `<run>` is the run name of the attempt that made them.
They stay part of the retained storage, for inspection.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from nfresume.storage.descriptors import DIRECTORY

ASIDE = ".unfinished"


def set_aside(work: Path, hashes: Iterable[str], run_name: str) -> list[str]:
    """Rename `work/ab/cdef01...` of each hash `ab/cdef01` into `work/.unfinished/<run>/`. Raises OSError.

    Returns the moved task dirs as `ab/cdef01...`. Each move is one rename: after a crash the rest can follow.
    """
    moved = []
    for task_hash in hashes:
        first, _, rest = task_hash.partition("/")
        parent = work / first
        if not rest or not parent.is_dir():
            continue
        for name in os.listdir(parent):
            if name.startswith(rest):
                place = work / ASIDE / run_name
                place.mkdir(parents=True, exist_ok=True)
                (parent / name).rename(place / f"{first}-{name}")
                moved.append(f"{first}/{name}")
    return moved


@contextlib.contextmanager
def opened(work_fd: int, run_name: str, task_dir: str) -> Iterator[int]:
    """A descriptor of a task dir that was set aside, opened without following a link. Raises OSError."""
    fd = os.dup(work_fd)
    try:
        for part in (ASIDE, run_name, task_dir.replace("/", "-", 1)):
            below = os.open(part, DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = below
        yield fd
    finally:
        os.close(fd)
