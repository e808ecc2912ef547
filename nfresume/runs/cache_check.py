"""Check at the end of an attempt that a resume will find its finished tasks in Nextflow's cache database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nfresume.nextflow import cache_db, reading, reuse
from nfresume.nextflow.record import Status, Task
from nfresume.storage.root import ExecutionFolder

_OFTEN = 10_000


def lost(
    folder: ExecutionFolder, session_id: str, number: int, heartbeat: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """The finished tasks of attempt `number` that a resume would not find; empty when it finds all.

    A full disk loses entries, or all of them, and Nextflow says nothing (measured). `tasks`: how many are
    lost; `of`: how many have finished; `seconds`: the task time of the lost ones; `reason`, if it is known.
    """
    entries: set[str] = set()
    reason = None
    try:
        entries = cache_db.task_dirs(folder.cache, session_id)
    except cache_db.Compressed:
        return {}
    except cache_db.Unreadable as e:
        reason = str(e)
    finished = gone = milliseconds = 0
    for at, line in enumerate(reading.lines(folder.attempt(number))):
        if at % _OFTEN == 0:
            heartbeat()
        if isinstance(line, Task) and line.dir and line.status in (Status.COMPLETED, Status.CACHED):
            finished += 1
            if line.dir not in entries:
                gone += 1
                milliseconds += reuse.milliseconds(line)
    if not gone:
        return {}
    return {"tasks": gone, "of": finished, "seconds": round(milliseconds / 1000, 1), "reason": reason}
