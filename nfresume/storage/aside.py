"""Move task dirs aside that no resume must use: unfinished ones, and failed ones.

They go to `work/.unfinished/<run>/ab-cdef...`, where `<run>` is the run name of the attempt that made them.
They stay part of the retained storage, for inspection.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path

from nfresume.system import descriptors

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
                with descriptors.of(parent) as here, descriptors.of(place) as there:
                    descriptors.rename(name, here, f"{first}-{name}", there)
                moved.append(f"{first}/{name}")
    return moved


def opened(work_fd: int, run_name: str, task_dir: str) -> AbstractContextManager[int]:
    """A descriptor of a task dir that was set aside, opened without following a link. Raises OSError."""
    return descriptors.below(work_fd, (ASIDE, run_name, task_dir.replace("/", "-", 1)))
