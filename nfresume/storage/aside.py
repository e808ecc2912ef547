"""Task dirs that an unclean death left unfinished are moved aside, so that no resume trusts them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

ASIDE = ".unfinished"


def set_aside(work: Path, hashes: Iterable[str], run_name: str) -> list[str]:
    """Rename `work/ab/cdef01...` of each hash `ab/cdef01` into `work/.unfinished/<run>/`.

    Returns the names that were moved. They stay part of the retained storage, for a look at them.
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
