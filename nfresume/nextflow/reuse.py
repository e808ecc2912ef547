"""The task time that `-resume` saves."""

from __future__ import annotations

import functools
import os
from datetime import timedelta
from pathlib import Path

from nfresume.nextflow import reading, record_file
from nfresume.nextflow.record import Status, Task


def reusable(attempts: Path, number: int) -> timedelta:
    """The time of the tasks that a relaunch after attempt `number` would not spend again.

    All attempts count: one may end before it comes to what earlier ones have done. A task counts as its last
    attempt left it. `attempts` is the folder with the attempts' folders; all of them have ended.
    """
    return timedelta(milliseconds=_reusable(str(attempts), _stamps(attempts, number)))


def _stamps(attempts: Path, number: int) -> tuple[tuple[str, int, int], ...]:
    """What the records of the attempts are now; a result holds until they change."""
    found = []
    for each in range(1, number + 1):
        path = reading.source(attempts / str(each))
        try:
            status = os.stat(path)
            found.append((str(path), status.st_size, status.st_mtime_ns))
        except OSError:
            found.append((str(path), 0, 0))
    return tuple(found)


@functools.lru_cache(maxsize=4096)
def _reusable(attempts: str, stamps: tuple[tuple[str, int, int], ...]) -> int:
    if len(stamps) == 1 and (end := record_file.end_of(Path(stamps[0][0]))) is not None:
        return end.took
    total = 0
    seen: set[int] = set()  # names of tasks, as hashes: they take less memory
    for number in range(len(stamps), 0, -1):
        here: set[int] = set()
        for line in reading.lines(Path(attempts, str(number))):
            if isinstance(line, Task) and (name := hash(line.name)) not in seen:
                total += milliseconds(line)
                if line.status is not Status.CACHED or line.took is not None:
                    here.add(name)
        seen |= here
    return total


def milliseconds(task: Task) -> int:
    """What a line adds to the time that is saved; a task that failed after all takes it back."""
    useful = (Status.COMPLETED.value, Status.CACHED.value)
    return task.milliseconds * ((task.status in useful) - (task.was in useful))


def reused(attempt_dir: Path) -> timedelta:
    """The task time that `-resume` has saved in an attempt."""
    found = (line.duration for line in reading.lines(attempt_dir)
             if isinstance(line, Task) and line.status is Status.CACHED)
    return sum(found, timedelta())
