"""Write the record of a running attempt: follow its log, and keep the small files of its tasks.

The log is read once, here. A few threads read what tasks have left in their task dirs, so that a slow file
system delays neither the log nor the lease. A task's line is written when its files have been read.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nfresume.nextflow import (
    command,
    evidence,
    metrics,
    record,
    record_file,
    reuse,
    task_dirs,
    trace,
    wrapper,
)
from nfresume.nextflow.log import LogReader
from nfresume.nextflow.record import Status, Task
from nfresume.nextflow.stamps import started_at
from nfresume.nextflow.summary import Summary
from nfresume.nextflow.tracking import Tracker
from nfresume.retained import environments
from nfresume.runs.earlier import Earlier, Predecessors
from nfresume.settings import KeepTaskLogs
from nfresume.storage.root import ExecutionFolder
from nfresume.system import descriptors
from nfresume.system.filesystems import folder_id

_log = logging.getLogger("nfresume.recorder")
_THREADS = 4
_CHUNK = 1 << 18
#: While the files of so many tasks wait to be read, the log is not read further.
_MOST_WAITING = 2_000
#: How long one poll reads a log that is long.
_POLL_SECONDS = 0.5
#: So many tasks, folders and inputs are remembered.
_REMEMBERED = 4_096
_INPUTS = 100_000
_FEW_INPUTS = 20
#: How often a folder is looked for that is not there yet.
_AGAIN_SECONDS = 1.0
#: A wrapper that is longer is not read whole.
_WRAPPER_BYTES = 1 << 21


@dataclass(frozen=True)
class _Files:
    """What the task dir of a task says; see `record.Task`."""

    inputs: tuple[tuple[str, int, int], ...] = ()
    container: str = ""
    started: int | None = None
    evidence: tuple[str, int, int] | None = None
    memory: int | None = None


class Recorder:
    """Writes the record of attempt `number`, for the supervisor whose lease has this token.

    `summary` is what the record says so far. Call `poll` often, and `finish` once, when the head has ended.
    """

    def __init__(self, folder: ExecutionFolder, number: int, token: int, keep: KeepTaskLogs) -> None:
        self._work = folder.work
        self._keep = keep
        self._dir = folder.attempt(number)
        self._earlier = Earlier(self._dir.parent, number, folder.work)
        self._predecessors = Predecessors(self._dir, token)
        self.summary = Summary()
        self._lock = threading.RLock()  # of the writer, the summary, and what is below
        self._writer = record_file.Writer(record_file.path_of(self._dir, token))
        self._archive = evidence.Archive(self._dir, token)
        self._reading: dict[int, Task] = {}  # tasks whose files are being read, as they are now
        self._files: OrderedDict[int, _Files] = OrderedDict()  # of tasks that ended last
        self._folders: OrderedDict[str, bool] = OrderedDict()  # True: its identity is in the record
        self._outputs: OrderedDict[str, None] = OrderedDict()
        self._bins: set[str] = set()
        self._environments = {""}
        self._looked = time.monotonic()
        self._took = self._tasks = self._busy = 0
        self._stat = functools.lru_cache(_INPUTS)(_stat)
        self._pool = ThreadPoolExecutor(_THREADS, "records")
        self._put(record.Header(work=str(folder.work)))
        tracker = Tracker(self._take, self._earlier.origin, self._exists)
        self._tracker = tracker
        self._log = LogReader(self._dir / command.LOG, tracker.takers, lambda: started_at(self._dir))

    def poll(self) -> None:
        """Read what is new in the log, and write what is known by now; of a long log a part."""
        until = time.monotonic() + _POLL_SECONDS
        while len(self._reading) < _MOST_WAITING and self._log.poll(_CHUNK) >= _CHUNK:
            self._flush()
            if time.monotonic() > until:
                break
        if time.monotonic() - self._looked > _AGAIN_SECONDS:
            self._looked = time.monotonic()
            self._look_again()
        self._flush()

    def finish(self, heartbeat: Callable[[], None] = lambda: None) -> Summary:
        """Read the log to its end, and finish the record. `heartbeat` is called several times a second.

        What it raises (StaleLease) ends the work; then call `abandon`.
        """
        while self._log.poll(_CHUNK) >= _CHUNK:
            self._flush()
            heartbeat()
            self._wait(heartbeat, most=_MOST_WAITING)
        self._log.close()
        self._tracker.close(self._task_dir)
        for text in self._log.damage:
            self._put(record.Doubt(text, damage=True))
        self._wait(heartbeat)
        self._look_again()
        self._wait(heartbeat)
        heartbeat()
        self._pool.shutdown()
        self._archive.close()
        with self._lock:
            end = record.End(int(time.time() * 1000), self._tasks, self._took, self._writer.size)
            self._writer.write(self.summary.sums)
            self._writer.close(end)
            self.summary.add(end)
        if not self._writer.broken:
            with contextlib.suppress(OSError):  # a full disk must not prevent the settlement
                trace.write(self._dir / command.TRACE, record_file.lines(self._writer.path))
        self._drop()
        return self.summary

    def abandon(self) -> None:
        """Stop, and leave the record unfinished: another supervisor writes its own. Safe to repeat."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            self._writer.close(None)
        self._drop()

    def _drop(self) -> None:
        self._earlier.close()
        self._predecessors.close()

    def _task_dir(self, task: Task) -> str:
        return task_dirs.find(self._work, task.hash, task.name, unfinished=True)

    # -- lines ----------------------------------------------------------------------------------

    def _take(self, line: record.Line) -> None:
        """Take a line from the tracker."""
        if isinstance(line, Task):
            self._take_task(line)
            return
        if isinstance(line, record.Published) and "://" not in line.target:
            self._see_folder(os.path.dirname(line.target))
        self._put(line)

    def _take_task(self, task: Task) -> None:
        with self._lock:
            if (waiting := self._reading.get(task.n)) is not None:
                self._reading[task.n] = task._replace(was=waiting.was)  # one line says both
                return
            files = self._files.get(task.n)
        ended = task.status in (Status.COMPLETED, Status.FAILED, Status.ABORTED)
        if not ended or not task.dir:
            self._put(task)
        elif files is not None and (files.evidence is not None or not self._wants(task)):
            self._put(_with(task, files))
        elif (before := self._predecessors.find(task.dir)) is not None:
            self._finished(task, _Files(before.inputs, before.container, before.started, before.evidence))
        else:
            with self._lock:
                self._reading[task.n] = task
            self._begin(self._read, task.n, task.dir)

    def _wants(self, task: Task) -> bool:
        """True for a task whose files are kept."""
        return self._keep is KeepTaskLogs.ALL or (
            self._keep is KeepTaskLogs.FAILED and task.status is not Status.COMPLETED)

    def _finished(self, task: Task, files: _Files) -> None:
        with self._lock:
            if len(files.inputs) <= _FEW_INPUTS:
                self._files[task.n] = files
                if len(self._files) > _REMEMBERED:
                    self._files.popitem(last=False)
        self._put(_with(task, files))

    def _put(self, line: record.Line) -> None:
        with self._lock:
            self.summary.add(line)
            self._writer.write(line)
            if isinstance(line, Task):
                self._sum_up(line)

    def _sum_up(self, task: Task) -> None:
        self._took += reuse.milliseconds(task)
        self._tasks += not task.was

    def _flush(self) -> None:
        with self._lock:
            self._writer.flush()

    # -- in threads -----------------------------------------------------------------------------

    def _begin(self, work: Callable[..., None], *given: Any) -> None:
        with self._lock:
            self._busy += 1
        self._pool.submit(self._loudly, work, *given)

    def _loudly(self, work: Callable[..., None], *given: Any) -> None:
        """Do this in a thread of the pool. A fault of ours is logged, and the record goes on."""
        try:
            work(*given)
        except Exception:
            _log.exception("a fault of nfresume: the files of a task are not in the record")
        finally:
            with self._lock:
                self._busy -= 1

    def _wait(self, heartbeat: Callable[[], None], most: int = 0) -> None:
        """Wait until the threads have done all but `most` of what they were given."""
        while self._busy > most:
            heartbeat()
            time.sleep(0.005)
            self._flush()

    def _read(self, n: int, task_dir: str) -> None:
        """Read the files of one task, and write its line."""
        files, member, place = _Files(), b"", None
        try:
            files, member = self._files_of(task_dir)
            with self._lock:
                wanted = self._wants(self._reading[n])
            place = self._archive.add(member) if member and wanted else None
        except OSError:
            pass  # the task dir is gone: the line says what the log says
        finally:
            with self._lock:
                task = self._reading.pop(n)
                if member and place is None and self._wants(task):  # it has failed meanwhile
                    place = self._archive.add(member)
                self._finished(task, replace(files, evidence=place))

    def _files_of(self, task_dir: str) -> tuple[_Files, bytes]:
        """What a task dir says, and a member of the archive. Raises OSError."""
        with descriptors.of(self._work) as work, evidence.task_dir(work, task_dir) as folder:
            files = self._look(folder, task_dir)
            kept = evidence.files_of(folder) if self._keep is not KeepTaskLogs.NONE else []
        trace = next((each.data.decode("utf-8", "replace") for each in kept if each.name == metrics.FILE), "")
        files = replace(files, memory=metrics.parse(trace).peak_rss)
        return files, evidence.pack(task_dir, kept) if kept else b""

    def _look(self, folder: int, task_dir: str) -> _Files:
        """What the wrapper of a task says, and when it began."""
        kept = evidence.read(folder, wrapper.RUN, _WRAPPER_BYTES)
        if kept is None:
            return _Files()
        whole = str(self._work / task_dir)
        found = wrapper.parse(kept.data.decode("utf-8", "surrogateescape"), whole)
        paths = found.inputs
        if found.staged and (stage := evidence.read(folder, wrapper.STAGE, _WRAPPER_BYTES)) is not None:
            paths = wrapper.inputs(stage.data.decode("utf-8", "surrogateescape"), whole)
        for path in found.outputs:
            if not f"{path}/".startswith(f"{whole}/"):  # not of a task in a scratch folder
                self._see_outputs(path)
        self._see_environment(found.activated)
        self._see_environment(found.container)
        for path in found.bins:
            self._see_programs(path)
        try:
            began = os.stat(".command.begin", dir_fd=folder, follow_symlinks=False).st_mtime_ns // 1_000_000
        except OSError:
            began = None
        return _Files(tuple((path, *self._stat(path)) for path in paths), found.container, began)

    def _see_environment(self, path: str) -> None:
        """Note once that an environment or image of the account's cache is used."""
        with self._lock:
            if path in self._environments or len(self._environments) >= _REMEMBERED:
                return
            self._environments.add(path)
        environments.touch(self._work.parent.parent, path)

    def _see_programs(self, place: str) -> None:
        """Record the programs in a `bin` folder once: a task that uses one runs again when it changes."""
        with self._lock:
            if place in self._bins or len(self._bins) >= _REMEMBERED:
                return
            self._bins.add(place)
        try:
            names = sorted(os.listdir(place))[:_REMEMBERED]
        except OSError:
            return
        for name in names:
            size, mtime = self._stat(os.path.join(place, name))
            if size >= 0:
                self._put(record.Program(os.path.join(place, name), size, mtime))

    def _see_outputs(self, path: str) -> None:
        with self._lock:
            known = path in self._outputs
            self._outputs[path] = None
            if len(self._outputs) > _REMEMBERED:
                self._outputs.popitem(last=False)
        if not known:
            self._put(record.Outputs(path))

    # -- folders --------------------------------------------------------------------------------

    def _see_folder(self, path: str) -> None:
        """Record the identity of a folder of results, as soon as it is there.

        Behind a link into the work dir it has no meaning: the real folder will take the link's place.
        """
        with self._lock:
            if path in self._folders:
                return
            self._folders[path] = False
            if len(self._folders) > _REMEMBERED:
                self._folders.popitem(last=False)
        self._begin(self._identify, path)

    def _look_again(self) -> None:
        with self._lock:
            missing = [path for path, known in self._folders.items() if not known][:100]
        for path in missing:
            self._begin(self._identify, path)

    def _identify(self, path: str) -> None:
        try:
            found = folder_id(path)
        except OSError:
            return  # it is looked for again
        with self._lock:
            if self._folders.get(path):
                return
            self._folders[path] = True
        if not Path(path).resolve().is_relative_to(self._work.resolve()):
            self._put(record.Folder(path, found.inode, found.device, found.source, found.filesystem))

    def _exists(self, task_dir: str) -> bool:
        """True when a task dir begins so, or the work dir is gone.

        The records are asked first: for a thousand cached tasks the file system would take seconds.
        """
        return (self._earlier.knows(task_dir) or bool(task_dirs.beginning_with(self._work, task_dir))
                or not self._work.exists())


def _with(task: Task, files: _Files) -> Task:
    return task._replace(inputs=files.inputs, container=files.container or task.container,
                         started=files.started, evidence=files.evidence, memory=files.memory)


def _stat(path: str) -> tuple[int, int]:
    """Size and mtime in ns of an input; -1 and 0 when it is not there any more."""
    try:
        found = os.stat(path)
    except OSError:
        return -1, 0
    return found.st_size, found.st_mtime_ns


