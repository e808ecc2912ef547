"""How much of what has finished a relaunch finds, told in milliseconds: from counts and Nextflow's cache.

It looks at no task dir and no input: `runs.forecasting` does that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any

from nfresume.domain.errors import NfresumeError
from nfresume.domain.executions import Attempt, Event, Execution, TaskCounts, python_workflow
from nfresume.domain.headline import Reusable, total
from nfresume.nextflow import cache_db, history
from nfresume.runs.task_index import TaskIndex
from nfresume.storage.root import ExecutionFolder

#: A larger cache database is not read for a page: that takes about 10 ms for each MB.
_MOST_BYTES = 6 * 2**20


def of(
    execution: Execution, attempts: Sequence[Attempt], events: Sequence[Event], folder: ExecutionFolder,
    tasks: Callable[[int], AbstractContextManager[TaskIndex]],
) -> Reusable:
    """What a relaunch of an ended execution finds. `tasks` opens the index of an attempt.

    That is what the attempt with the most finished tasks left: a later one may have failed at its start.
    """
    best = max(attempts, key=lambda a: (_finished(a.tasks), a.number))
    found = Reusable(best.number, _finished(best.tasks), total(best.tasks),
                     refused=_refused(execution, folder))
    if found.refused or not found.finished or python_workflow(execution.pipeline) is not None:
        return found
    lost: int | None = None
    with suppress(NfresumeError, OSError):
        stamp = cache_db.stamp(folder.cache, execution.session_id)
        if sum(size for _, size, _ in stamp) <= _MOST_BYTES:
            with tasks(best.number) as index:
                lost = _lost(folder, execution.session_id, stamp, index)
    if lost is not None:
        return Reusable(found.attempt, found.finished, found.total, lost)
    told = [e.detail["tasks"] for e in events if e.name == "cache_lost" and e.attempt == best.number]
    return Reusable(found.attempt, found.finished, found.total, max(told, default=0), known=False)


def _finished(counts: TaskCounts) -> int:
    return counts.succeeded + counts.cached


def _refused(execution: Execution, folder: ExecutionFolder) -> str:
    if execution.work_dir.path != str(folder.work):
        return f"its work dir moved from {execution.work_dir.path}"
    return history.resumable(folder.cache, execution.session_id) or ""


def _lost(
    folder: ExecutionFolder, session_id: str, stamp: tuple[tuple[str, int, int], ...], index: TaskIndex
) -> int | None:
    """How many finished tasks of an attempt the cache, which has this stamp, has lost; None: unreadable."""
    known: tuple[Any, int] = index.figures.get("lost", (0, ((), 0)))[1]
    if known[0] == (stamp, index.version):
        return known[1]
    try:
        entries = cache_db.task_dirs(folder.cache, session_id)
    except cache_db.Compressed:
        return None
    except cache_db.Unreadable:
        entries = set()
    dirs = index.database.execute("SELECT dir FROM task WHERE state IN ('completed', 'cached') AND dir <> ''")
    lost = sum(name not in entries for name, in dirs)
    index.figures["lost"] = index.version, ((stamp, index.version), lost)
    return lost
