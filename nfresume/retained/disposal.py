"""Work on the bytes of a retained work dir: measure it, slim it.

Every step is idempotent and reads what is left to do from the database and the disk. So after a crash the
next sweep continues where the last process stopped.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection

from nfresume.domain.executions import Execution
from nfresume.nextflow import reading
from nfresume.nextflow.record import Status, Task
from nfresume.retained import measuring, places
from nfresume.settings import Settings
from nfresume.storage import sizes
from nfresume.storage.removal import Removed
from nfresume.storage.root import ExecutionFolder
from nfresume.storage.scan import Measurement, Size, measure
from nfresume.storage.slimming import slim
from nfresume.storage.workers import Pace
from nfresume.store import Store, removals


def pace_of(conf: Settings, stop: threading.Event | None = None) -> Pace:
    """The number of workers and the rate limit of the settings; `stop` ends the work early."""
    pace = Pace(conf.storage_workers, conf.delete_per_second, stop or threading.Event())
    _ = pace.rate_limit  # made now: threads share it
    return pace


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
    return slim(folder, failed_task_dirs(folder, attempts), pace, lambda _: heartbeat())


def failed_task_dirs(folder: ExecutionFolder, attempts: int) -> Collection[str]:
    """The task dirs that failed or were aborted in attempts 1 to `attempts`, as `ab/cdef01...`."""
    failed: dict[str, None] = {}
    for number in range(1, attempts + 1):
        for line in reading.lines(folder.attempt(number)):
            if not isinstance(line, Task) or not line.dir:
                continue
            if line.status in (Status.FAILED, Status.ABORTED):
                failed[line.dir] = None
            else:
                failed.pop(line.dir, None)
    return failed.keys()
