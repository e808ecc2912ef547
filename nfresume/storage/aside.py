"""Move unfinished task dirs of a head that died uncleanly aside, so that no resume uses them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

ASIDE = ".unfinished"


def set_aside(work: Path, hashes: Iterable[str], run_name: str) -> list[str]:
    """Rename `work/ab/cdef01...` of each hash `ab/cdef01` into `work/.unfinished/<run>/`.

    Returns the moved task dirs as `ab/cdef01...`. They stay part of the retained storage, for inspection.
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
