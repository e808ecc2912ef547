"""Read the records of an attempt in bounded parts: its logs, its tasks, and the files of a task dir.

A script may have put anything into a task dir. So only regular files are read, and no link is followed.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from nfresume.domain.errors import NotFound
from nfresume.nextflow import command
from nfresume.nextflow import log as nextflow_log
from nfresume.nextflow.log import RunLog, Task
from nfresume.storage.root import ExecutionFolder

#: The largest part of a file that one answer holds.
MAX_BYTES = 256 * 1024
#: The logs of an attempt and the files of a task dir that can be read, by their public names.
LOGS = {"stdout": command.STDOUT, "stderr": command.STDERR, "nextflow": command.LOG}
TASK_FILES = {"stdout": ".command.out", "stderr": ".command.err", "script": ".command.sh"}


@dataclass
class Progress:
    """The progress of one process: how many of its tasks are in each state."""

    process: str
    cached: int = 0
    running: int = 0
    completed: int = 0
    failed: int = 0

    @property
    def total(self) -> int:
        """Tasks that have appeared so far."""
        return self.cached + self.running + self.completed + self.failed


class Records:
    """The records of one attempt."""

    def __init__(self, folder: ExecutionFolder, number: int) -> None:
        self._folder = folder
        self._attempt_dir = folder.attempt(number)

    def log(self) -> RunLog:
        """Nextflow's log, parsed."""
        return nextflow_log.read(self._attempt_dir / command.LOG)

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

    def open_task_file(self, task: Task, name: str) -> int:
        """A descriptor of one of TASK_FILES, to be closed by the caller. Raises NotFound."""
        if name not in TASK_FILES:
            raise NotFound(f"there is no task file {name!r}", f"one of {', '.join(TASK_FILES)}")
        return opened(self.task_dir(task) / TASK_FILES[name])

    def size(self, name: str) -> int:
        """The size of one of LOGS in bytes; 0 when it does not exist yet."""
        try:
            return (self._attempt_dir / LOGS[name]).stat().st_size
        except FileNotFoundError:
            return 0

    def task(self, wanted: str) -> Task:
        """The last task with this name, process or start of a hash. Raises NotFound."""
        for task in reversed(self.log().tasks.values()):
            if task.hash.startswith(wanted) or wanted in (task.name, task.process):
                return task
        raise NotFound(f"there is no task {wanted!r} in {self._attempt_dir.parent.parent.name}",
                       "`nfresume logs ID --nextflow-log` names them")

    def task_dir(self, task: Task) -> Path:
        """The task dir of a task. Raises NotFound when it was deleted."""
        first, _, rest = task.hash.partition("/")
        for found in (self._folder.work / first).glob(f"{rest}*"):
            return found
        raise NotFound(f"the task dir of {task.name} ({task.hash}) is gone",
                       "its work dir was deleted or slimmed")

    def task_part(self, task: Task, name: str, offset: int = 0, most: int = MAX_BYTES) -> bytes:
        """Up to `most` bytes of one of TASK_FILES, as for `part`. Raises NotFound."""
        if name not in TASK_FILES:
            raise NotFound(f"there is no task file {name!r}", f"one of {', '.join(TASK_FILES)}")
        return part(self.task_dir(task) / TASK_FILES[name], offset, most)


def progress(log: RunLog) -> list[Progress]:
    """The progress of each process, in order of appearance in the log."""
    found: dict[str, Progress] = {}
    for task in log.tasks.values():
        row = found.setdefault(task.process, Progress(task.process))
        kind = state(task).lower()
        setattr(row, kind, getattr(row, kind) + 1)
    return list(found.values())


def state(task: Task) -> str:
    """A task's state: CACHED, FAILED, RUNNING or COMPLETED."""
    if task.cached:
        return "CACHED"
    if task.failed:
        return "FAILED"
    return "RUNNING" if task.running else "COMPLETED"


def part(path: Path, offset: int = 0, most: int = MAX_BYTES) -> bytes:
    """Up to `most` bytes of a regular file; from the end when `offset` is negative. Raises NotFound."""
    fd = opened(path)
    try:
        return os.pread(fd, most, offset if offset >= 0 else max(0, os.fstat(fd).st_size + offset))
    finally:
        os.close(fd)


def opened(path: Path) -> int:
    """A descriptor of a regular file, to be closed by the caller. No link is followed. Raises NotFound."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        raise NotFound(f"there is no {path.name}") from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise NotFound(f"there is no {path.name}")
    return fd
