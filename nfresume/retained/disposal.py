"""Work on the bytes of a work dir: materialise its results, measure it, slim it, remove it.

Every step is idempotent and reads what is left to do from the database and the disk. So after a crash the
next sweep continues where the last process stopped.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable

from nfresume.domain.errors import StoreUnavailable
from nfresume.domain.executions import Execution
from nfresume.domain.workdirs import RemovalProgress
from nfresume.nextflow import log as nextflow_log
from nfresume.nextflow import trace
from nfresume.nextflow.command import LOG, TRACE
from nfresume.retained import measuring, places
from nfresume.settings import Settings
from nfresume.storage import sizes
from nfresume.storage.publish import RESULTS, Materialised, materialise
from nfresume.storage.removal import Removed, empty_trash
from nfresume.storage.root import ExecutionFolder
from nfresume.storage.scan import Measurement, Size, measure
from nfresume.storage.slimming import slim
from nfresume.storage.trash import to_trash
from nfresume.storage.workers import Pace
from nfresume.store import Store, removals
from nfresume.system import crashpoints

#: How long the claim on a removal lasts without renewal; then another process may take over.
REMOVER_SECONDS = 60.0
#: How often a removal renews its claim and stores its progress.
PROGRESS_SECONDS = 2.0


def pace_of(conf: Settings, stop: threading.Event | None = None) -> Pace:
    """The number of workers and the rate limit of the settings; `stop` ends the work early."""
    return Pace(conf.storage_workers, conf.delete_per_second, stop or threading.Event())


def secure_results(
    folder: ExecutionFolder, execution: Execution, pace: Pace, heartbeat: Callable[[], None] = lambda: None
) -> Materialised:
    """Materialise what all attempts published, and write the report RESULTS. Deletes nothing.

    `refused` also names logs with missing lines and published paths that the log does not give readably.
    """
    targets: dict[str, None] = {}
    unreadable: list[str] = []
    missing: list[str] = []
    paths = {execution.work_dir.path}  # of all attempts: the root may have moved since links were made
    for number in range(1, execution.attempt + 1):
        paths.add((folder.request(number) or {}).get("work_dir", execution.work_dir.path))
        path = folder.attempt(number) / LOG
        log = nextflow_log.read(path)
        if nextflow_log.has_gaps(path):
            missing.append(f"{path}: lines of this log are missing (was its disk full?)")
        elif log.whole and not log.error:
            missing.clear()  # a successful attempt publishes everything, also what earlier ones had published
        targets.update((target, None) for target in log.published if "://" not in target)
        unreadable += [f"{name}: its path cannot be read from the log" for name in log.unreadable]
    result = materialise(targets, folder.work, pace, heartbeat, sorted(paths - {str(folder.work)}))
    result.refused += unreadable + missing
    result.write(folder.attempt(execution.attempt) / RESULTS)
    return result


def reason_to_hold(results: Materialised) -> str | None:
    """Why a work dir must be held: results would be lost with it. None when there is no such reason."""
    if not results.refused:
        return None
    count = len(results.refused)
    plural = "s" if count > 1 else ""
    return f"{count} published result{plural} would be lost with the work dir: {results.refused[0]}"


def size_of(
    folder: ExecutionFolder, pace: Pace, progress: Callable[[Size], None] = lambda _: None
) -> Measurement:
    """Measure `work` and `cache` of an execution; finished task dirs are scanned only once."""
    measured = measure(folder.work, [folder.cache], known=sizes.load(folder.cache), pace=pace,
                       progress=progress)
    if measured.scanned:
        sizes.save(folder.cache, measured.parts)
    return measured


def record_size(
    store: Store, conf: Settings, execution: Execution, stop: threading.Event | None = None,
    progress: Callable[[Size], None] = lambda _: None,
) -> tuple[Measurement, list[measuring.ProcessSize]]:
    """Measure a work dir; store and return its size, in total and by process.

    A stopped scan is stored only if there is no earlier measurement: a partial size would be too small.
    """
    folder = places.folder_of(store, execution)
    measured = size_of(folder, pace_of(conf, stop), progress)
    total = measured.total
    rows = measuring.by_process(measured.sizes, measuring.process_names(folder, execution.attempt))
    if stop is not None and stop.is_set() and execution.work_dir.measured_at is not None:
        return measured, rows
    with store.begin() as tx:
        removals.measured(
            tx, execution.id, {row.process: row.size.metered for row in rows}, bytes=total.bytes,
            disk_bytes=total.disk_bytes, metered_bytes=total.metered,
            files=total.files, directories=total.directories, partial=measured.partial,
        )
    return measured, rows


def slim_down(
    folder: ExecutionFolder, attempts: int, pace: Pace, heartbeat: Callable[[], None] = lambda: None
) -> Removed:
    """Empty the task dirs that failed or were aborted in attempts 1 to `attempts`; no resume needs them."""
    ended: dict[str, set[str]] = {}
    for number in range(1, attempts + 1):
        for row in trace.rows(folder.attempt(number) / TRACE):
            ended.setdefault(row.hash, set()).add(row.status)
    unneeded = [task_hash for task_hash, how in ended.items() if how <= {"FAILED", "ABORTED"}]
    return slim(folder, unneeded, pace, lambda _: heartbeat())


def remove(
    store: Store, conf: Settings, execution: Execution, actor: str,
    progress: Callable[[RemovalProgress], None] = lambda _: None, stop: threading.Event | None = None,
) -> Removed | None:
    """Remove a DELETING work dir; returns None when another process has the claim.

    DELETED is stored only after the last byte is gone. When entries cannot be removed, the stored reason says
    so. When `stop` is set the removal pauses, and the next sweep continues it.
    """
    removal = _Removal(store, execution, progress)
    root = places.root_of(store, execution)
    if not removal.claim():
        return None
    try:
        to_trash(root, execution.account, execution.id)
        crashpoints.reach("trashed")
        removed = empty_trash(root, execution.id, removal.report, pace_of(conf, stop))
    except OSError as e:
        removed = Removed(blocked_count=1, blocked=[f"{execution.work_dir.path}: {e.strerror or e}"])
    crashpoints.reach("emptied")
    total = removal.total(removed)
    with store.begin() as tx:
        if removed.blocked:
            removals.blocked(tx, execution.id, describe_blocked(removed), actor, total)
        elif removed.stopped:
            removals.paused(tx, execution.id, total, actor)
        else:
            removals.removed(tx, execution.id, actor, total)
    return removed


def describe_blocked(removed: Removed) -> str:
    """How many entries could not be removed, and the first of them, in one line."""
    count = removed.blocked_count
    return f"{count} thing{'s' if count > 1 else ''} cannot be removed: {removed.blocked[0]}"


class _Removal:
    """The claim on a removal, renewed as it goes on, and its progress including earlier passes."""

    def __init__(
        self, store: Store, execution: Execution, progress: Callable[[RemovalProgress], None]
    ) -> None:
        self._store = store
        self._id = execution.id
        self._progress = progress
        self._remover = f"{socket.gethostname()}:{os.getpid()}"
        self._before = execution.work_dir.removal or RemovalProgress()
        self._reported_at = 0.0

    def claim(self, so_far: RemovalProgress | None = None) -> bool:
        self._reported_at = time.monotonic()
        with self._store.begin() as tx:
            return removals.claim(tx, self._id, self._remover, REMOVER_SECONDS, so_far)

    def total(self, removed: Removed) -> RemovalProgress:
        before = self._before
        return RemovalProgress(
            before.files + removed.files, before.directories + removed.directories,
            before.bytes + removed.bytes, round(before.seconds + removed.seconds, 3), removed.blocked_count,
        )

    def report(self, removed: Removed) -> None:
        total = self.total(removed)
        if time.monotonic() - self._reported_at > PROGRESS_SECONDS:
            with contextlib.suppress(StoreUnavailable):  # the removal goes on without the database
                self.claim(total)
        self._progress(total)
