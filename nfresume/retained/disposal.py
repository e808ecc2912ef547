"""What happens to a work dir's bytes: results made real, size measured, tree slimmed or removed.

Every step is idempotent and finds its work in the database and on disk, so that whoever comes next
can go on where a crash left off.
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

#: How long one process may be at removing a tree before another may take over; renewed as it goes.
REMOVER_SECONDS = 60.0
#: How often others are told how far a removal is.
TELL_SECONDS = 2.0


def pace_of(conf: Settings, stop: threading.Event | None = None) -> Pace:
    """How hard the settings allow to work on a root."""
    return Pace(conf.storage_workers, conf.delete_per_second, stop or threading.Event())


def secure_results(
    folder: ExecutionFolder, execution: Execution, pace: Pace, heartbeat: Callable[[], None] = lambda: None
) -> Materialised:
    """Make real what any attempt published; nothing is deleted here. The report is in RESULTS."""
    targets: dict[str, None] = {}
    unreadable: list[str] = []
    missing: list[str] = []
    places = {execution.work_dir.path}  # where it was when links were made: a root may have moved
    for number in range(1, execution.attempt + 1):
        places.add((folder.request(number) or {}).get("work_dir", execution.work_dir.path))
        path = folder.attempt(number) / LOG
        log = nextflow_log.read(path)
        if nextflow_log.has_gaps(path):
            missing.append(f"{path}: lines of this log are missing (was its disk full?)")
        elif log.whole and not log.error:
            missing.clear()  # a success publishes again what earlier attempts had published
        targets.update((target, None) for target in log.published if "://" not in target)
        unreadable += [f"{name}: its name cannot be read from the log" for name in log.unreadable]
    result = materialise(targets, folder.work, pace, heartbeat, sorted(places - {str(folder.work)}))
    result.refused += unreadable + missing
    result.write(folder.attempt(execution.attempt) / RESULTS)
    return result


def reason_to_hold(results: Materialised) -> str | None:
    """Why a work dir must be kept although its policy says otherwise; None = it need not."""
    if not results.refused:
        return None
    count = len(results.refused)
    plural = "s" if count > 1 else ""
    return f"{count} published result{plural} would be lost with the work dir: {results.refused[0]}"


def size_of(
    folder: ExecutionFolder, pace: Pace, progress: Callable[[Size], None] = lambda _: None
) -> Measurement:
    """Measure what is retained, `work` and `cache`; finished task dirs are scanned once in their life."""
    measured = measure(folder.work, [folder.cache], known=sizes.load(folder.cache), pace=pace,
                       progress=progress)
    if measured.scanned:
        sizes.save(folder.cache, measured.parts)
    return measured


def record_size(
    store: Store, conf: Settings, execution: Execution, stop: threading.Event | None = None,
    progress: Callable[[Size], None] = lambda _: None,
) -> tuple[Measurement, list[measuring.ProcessSize]]:
    """Measure a work dir and store the result, in all and by process.

    A scan that was stopped is stored only while nothing better is known: the ledger must not take a
    work dir for smaller than it is.
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
    """Remove what no resume needs: the inside of task dirs of failed and aborted attempts of tasks."""
    ended: dict[str, set[str]] = {}
    for number in range(1, attempts + 1):
        for row in trace.rows(folder.attempt(number) / TRACE):
            ended.setdefault(row.hash, set()).add(row.status)
    useless = [task_hash for task_hash, how in ended.items() if how <= {"FAILED", "ABORTED"}]
    return slim(folder, useless, pace, lambda _: heartbeat())


def remove(
    store: Store, conf: Settings, execution: Execution, actor: str,
    progress: Callable[[RemovalProgress], None] = lambda _: None, stop: threading.Event | None = None,
) -> Removed | None:
    """Remove a DELETING work dir; None when another process is at it.

    DELETED is written only when the last byte is gone; what cannot go is reported in the state. When
    `stop` is set the removal pauses, and whoever sweeps next goes on.
    """
    removal = _Removal(store, execution, progress)
    root = places.root_of(store, execution)
    if not removal.claim():
        return None
    try:
        to_trash(root, execution.account, execution.id)
        crashpoints.reach("trashed")
        removed = empty_trash(root, execution.id, removal.tell, pace_of(conf, stop))
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
    """What could not be removed, in one line."""
    count = removed.blocked_count
    return f"{count} thing{'s' if count > 1 else ''} cannot be removed: {removed.blocked[0]}"


class _Removal:
    """The claim on a removal, renewed while it goes on, with what earlier passes had removed."""

    def __init__(
        self, store: Store, execution: Execution, progress: Callable[[RemovalProgress], None]
    ) -> None:
        self._store = store
        self._id = execution.id
        self._progress = progress
        self._remover = f"{socket.gethostname()}:{os.getpid()}"
        self._before = execution.work_dir.removal or RemovalProgress()
        self._told = 0.0

    def claim(self, so_far: RemovalProgress | None = None) -> bool:
        self._told = time.monotonic()
        with self._store.begin() as tx:
            return removals.claim(tx, self._id, self._remover, REMOVER_SECONDS, so_far)

    def total(self, removed: Removed) -> RemovalProgress:
        before = self._before
        return RemovalProgress(
            before.files + removed.files, before.directories + removed.directories,
            before.bytes + removed.bytes, round(before.seconds + removed.seconds, 3), removed.blocked_count,
        )

    def tell(self, removed: Removed) -> None:
        total = self.total(removed)
        if time.monotonic() - self._told > TELL_SECONDS:
            with contextlib.suppress(StoreUnavailable):  # the bytes go on going
                self.claim(total)
        self._progress(total)
