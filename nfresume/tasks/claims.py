"""Outputs at places that all tasks see, such as an absolute path in the user's home.

A task that has written to such a place claims it at its end. Another one that wrote there meanwhile cannot
know whose file it returns: it fails, and neither result is reused.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from nfresume.system import durable, trees
from nfresume.tasks.digests import of_text
from nfresume.tasks.views import PLACES, Wish

#: The folder in a work dir with a file for each place that was claimed: who did it last, and when.
FOLDER = ".claims"
#: The clocks of hosts and file servers may differ by so much, in nanoseconds.
_SLACK_NS = 1_000_000_000


def written(paths: Collection[str], wish: Wish, began: int, *, alone: bool) -> list[str]:
    """Those of a task's outputs that all tasks see, and that were written since it `began` (ns).

    `alone`: the task has a file system of its own, in which all see the shared folders only.
    """
    if not paths:
        return []
    shared = [path.resolve() for path in (wish.work, *map(Path, wish.shared))]
    own = wish.task_dir.resolve()

    def is_seen(real: Path) -> bool:
        above = (real, *real.parents)
        if own in above:
            return False
        if any(top in above for top in shared):
            return True
        return not alone and not any(place in above for place in PLACES)

    return [path for path in paths
            if is_seen(real := Path(os.path.realpath(path))) and _newest(real) >= began - _SLACK_NS]


def _newest(path: Path) -> int:
    times = (max(found.st_mtime_ns, found.st_ctime_ns) for found in map(os.lstat, _all_in(path)))
    return max(times, default=0)


def _all_in(path: Path) -> Iterator[str]:
    """A file or folder that exists, and what is in it."""
    if path.exists():
        yield str(path)
    for parent, folders, files in trees.walk(path):
        yield from (os.path.join(parent, name) for name in (*folders, *files))


def claim(task_dir: Path, places: Iterable[str], began: int) -> Path | None:
    """Claim places for a task at its end. Returns the dir of one that claimed a place since it `began`."""
    for place in places:
        with durable.locked(task_dir.parent.parent / FOLDER / of_text(os.path.realpath(place))) as file:
            file.seek(0)
            claimed, _, other = file.read().rstrip("\n").partition(" ")
            if other and int(claimed) >= began:
                return Path(other)
            file.truncate(0)
            file.write(f"{time.time_ns()} {task_dir}\n")
    return None


def spoil(copies: Mapping[str, str]) -> None:
    """Let no later attempt reuse these copies of outputs: they get another time stamp."""
    for copy in copies.values():
        for path in list(_all_in(Path(copy)))[-1:]:
            os.utime(path)
