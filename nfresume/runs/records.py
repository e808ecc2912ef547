"""Read the records of an attempt in bounded parts: its logs, its tasks, and the files of a task.

A script may have put anything into a task dir. So only regular files are read, and no link is followed. When
a task dir is gone, its files come from the archive of the attempt.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nfresume.domain.errors import NotFound
from nfresume.domain.executions import run_name
from nfresume.nextflow import (
    command,
    evidence,
    kept_inputs,
    metrics,
    reading,
    record,
    record_file,
    task_dirs,
)
from nfresume.nextflow.record import Status, Task
from nfresume.runs.task_index import Indexes, TaskIndex
from nfresume.storage import aside
from nfresume.storage.root import ExecutionFolder
from nfresume.system import descriptors

#: The largest part of a file that one answer holds.
MAX_BYTES = 256 * 1024
#: The logs of an attempt and the files of a task that can be read, by their public names.
LOGS = {"stdout": command.STDOUT, "stderr": command.STDERR, "nextflow": command.LOG}
TASK_FILES = {"stdout": ".command.out", "stderr": ".command.err", "script": ".command.sh",
              "log": ".command.log", "wrapper": ".command.run", "exitcode": ".exitcode",
              "trace": metrics.FILE}

#: A longer params file is not shown.
_MOST_PARAMS = 5_000_000
_indexes = Indexes()


@dataclass(frozen=True)
class TaskPart:
    """A part of a file of a task. `kept`: the task dir is gone, and this is what was kept of the file."""

    data: bytes
    kept: bool = False


class Records:
    """The records of one attempt. `ended`: it has ended, so that its record must be finished.

    Where `tasks` would take longer than `patience` seconds, it raises StillReading.
    """

    def __init__(
        self, folder: ExecutionFolder, number: int, *, ended: bool, patience: float | None = None
    ) -> None:
        self._patience = patience
        self._folder = folder
        self._attempt_dir = folder.attempt(number)
        self._number = number
        self._ended = ended

    def tasks(self) -> AbstractContextManager[TaskIndex]:
        """The tasks, to be sorted, filtered and counted; kept in memory for the next time."""
        return _indexes.of(self._attempt_dir, ended=self._ended, patience=self._patience)

    def sums(self) -> record.Sums:
        """How many tasks of each process are in which state, and the first ones that failed for good."""
        paths = record_file.paths(self._attempt_dir) if self._ended else []
        found = record_file.sums_of(paths[-1]) if paths else None
        if found is None:
            with self.tasks() as index:
                return index.summary.sums
        return found

    def part(self, name: str, offset: int, most: int = MAX_BYTES) -> bytes:
        """Up to `most` bytes of one of LOGS; from the end when `offset` is negative. Raises NotFound."""
        if name not in LOGS:
            raise NotFound(f"there is no log {name!r}", f"one of {', '.join(LOGS)}")
        return part(self._attempt_dir / LOGS[name], offset, most)

    def fault(self) -> str:
        """The traceback of a supervisor that died of a fault of nfresume; empty if none did."""
        try:
            return part(self._attempt_dir / command.FAULT).decode("utf-8", "replace")
        except NotFound:
            return ""

    def open_log(self, name: str) -> int:
        """A descriptor of one of LOGS, to be closed by the caller. Raises NotFound."""
        if name not in LOGS:
            raise NotFound(f"there is no log {name!r}", f"one of {', '.join(LOGS)}")
        return opened(self._attempt_dir / LOGS[name])

    def open_task_file(self, task: Task, name: str) -> tuple[int, bool]:
        """A descriptor of one of TASK_FILES, to be closed by the caller. Raises NotFound.

        True with it: the task dir is gone, and this is what was kept of the file.
        """
        file = _task_file(name)
        try:
            with self._task_dir(task) as folder:
                return opened(file, folder), False
        except NotFound:
            kept = self._kept(task, file)
            if kept is None:
                raise
        fd = os.memfd_create(file, os.MFD_CLOEXEC)
        with open(fd, "wb", closefd=False) as copy:
            copy.write(kept)
        return fd, True

    def params(self) -> dict[str, Any]:
        """The parameters of the JSON file that the attempt was given; empty if it was given none."""
        try:
            given = [i for i in kept_inputs.read(self._attempt_dir) if i.option == "-params-file" and i.kept]
            name = given[-1].kept if given else None
            if name is None or not name.endswith(".json"):
                return {}
            data = part(self._attempt_dir / kept_inputs.FOLDER / name, 0, _MOST_PARAMS)
            found = json.loads(data, parse_constant=str)
        except (NotFound, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def published(self) -> list[str]:
        """What was published, in order; at most `task_index.MAX_PUBLISHED`."""
        with self.tasks() as tasks:
            return [each.target for each in tasks.published]

    def size(self, name: str) -> int:
        """The size of one of LOGS in bytes; 0 when it does not exist yet."""
        try:
            return (self._attempt_dir / LOGS[name]).stat().st_size
        except FileNotFoundError:
            return 0

    def task(self, wanted: str) -> Task:
        """The task that began last of those that a user means (`task_dirs.means`). Raises NotFound."""
        found: Task | None = None
        for task in self._candidates(wanted):
            if task_dirs.means(wanted, task.name, task.label) and (found is None or task.n >= found.n):
                found = task
        if found is None:
            raise NotFound(f"there is no task {wanted!r} in {self._folder.execution_id}",
                           "`nfresume logs ID --nextflow-log` names them")
        return found

    def task_with_id(self, wanted: str) -> Task:
        """The task with exactly this id, its label or its short hash. Raises NotFound."""
        found: Task | None = None
        for task in self._candidates("" if wanted.isdecimal() else wanted):
            if wanted in (task.label or str(task.n), task.hash):
                found = task
        if found is None:
            raise NotFound(f"there is no task {wanted[:200]!r} in {self._folder.execution_id}",
                           "its list of tasks names them")
        return found

    def _candidates(self, wanted: str) -> Iterator[Task]:
        """Tasks of lines with this text: without an index, for one look at a record."""
        path = reading.newest(self._attempt_dir, ended=self._ended)
        if path is None:
            found = reading.of_log(self._attempt_dir, ended=self._ended)
            yield from (line for line in found if isinstance(line, Task))
            return
        text = json.dumps(wanted)[1:-1].encode()
        reader = record_file.Reader(path)
        try:
            for _, data in reader.raw():
                if text in data and isinstance(line := record.decode(data), Task):
                    yield line
        finally:
            reader.close()

    def task_part(self, task: Task, name: str, offset: int = 0, most: int = MAX_BYTES) -> TaskPart:
        """Up to `most` bytes of one of TASK_FILES, as for `part`. Raises NotFound."""
        file = _task_file(name)
        try:
            with self._task_dir(task) as folder:
                return TaskPart(part(file, offset, most, folder))
        except NotFound:
            kept = self._kept(task, file)
            if kept is None:
                raise
        start = offset if offset >= 0 else max(0, len(kept) + offset)
        return TaskPart(kept[start:start + most], kept=True)

    def task_dir(self, task: Task) -> Path:
        """The path of a task dir. Raises NotFound when it is gone."""
        with self._task_dir(task) as folder:
            return Path(os.readlink(f"/proc/self/fd/{folder}"))

    def outputs(self, task: Task, most: int) -> list[tuple[str, int | None]] | None:
        """The first files in a task dir and their sizes, of folders None; None when the task dir is gone.

        Neither what Nextflow has put there nor links, which lead to inputs.
        """
        found: list[tuple[str, int | None]] = []
        try:
            with self._task_dir(task) as folder, os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith((".command.", ".exitcode")) or entry.is_symlink():
                        continue
                    size = entry.stat(follow_symlinks=False).st_size if entry.is_file() else None
                    found.append((os.fsencode(entry.name).decode("utf-8", "replace"), size))
                    if len(found) == most:
                        break
        except (NotFound, OSError):
            return None
        return sorted(found)

    @contextmanager
    def _task_dir(self, task: Task) -> Iterator[int]:
        """A descriptor of a task dir, opened without following a link. Raises NotFound.

        Where it was set aside, a later attempt may have another task dir in its place.
        """
        work = self._folder.work
        name = task.dir or task_dirs.find(work, task.hash, task.name,
                                          unfinished=task.status is Status.RUNNING)
        with ExitStack() as stack:
            try:
                fd = stack.enter_context(descriptors.of(work))
                try:
                    run = run_name(self._folder.execution_id, self._number)
                    folder = stack.enter_context(aside.opened(fd, run, name))
                except FileNotFoundError:
                    folder = stack.enter_context(evidence.task_dir(fd, name))
            except OSError:
                raise NotFound(f"the task dir of {task.name} ({task.hash}) is gone",
                               "its work dir was deleted or slimmed") from None
            yield folder

    def _kept(self, task: Task, file: str) -> bytes | None:
        """What the archive has of a file; a cached task's is in that of the attempt that ran it."""
        if task.evidence is None:
            return None
        return evidence.unpack(self._folder.attempt(task.cached_from or self._number), task.evidence, file)


def _task_file(name: str) -> str:
    """The name of one of TASK_FILES in a task dir. Raises NotFound."""
    if name not in TASK_FILES:
        raise NotFound(f"there is no task file {name!r}", f"one of {', '.join(TASK_FILES)}")
    return TASK_FILES[name]


def part(
    path: str | os.PathLike[str], offset: int = 0, most: int = MAX_BYTES, folder: int | None = None
) -> bytes:
    """Up to `most` bytes of a regular file; from the end when `offset` is negative. Raises NotFound.

    `path` is relative to the open directory `folder`, if that is given.
    """
    fd = opened(path, folder)
    try:
        return os.pread(fd, most, offset if offset >= 0 else max(0, os.fstat(fd).st_size + offset))
    finally:
        os.close(fd)


def opened(path: str | os.PathLike[str], folder: int | None = None) -> int:
    """A descriptor of a regular file, to be closed by the caller. No link is followed. Raises NotFound.

    `path` is as for `part`.
    """
    name = os.path.basename(path)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        raise NotFound(f"there is no {name}") from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise NotFound(f"there is no {name}")
    return fd
