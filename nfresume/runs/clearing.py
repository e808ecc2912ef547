"""Set task dirs aside before a relaunch: unfinished ones of an unclean end, and failed ones.

Where the task dir of a failed try stays, Nextflow starts the next attempt of its task in another task dir. If
that one fails too, and its retry succeeds, no later resume finds the retry: it looks for another name
(nextflow#5688, nextflow#6884; see `nextflow.hashing`). So failed and aborted task dirs go aside, unless

- a task of that process ran after it and completed: its hash may follow from this task dir;
- something that was published, or an input of a task, lies in it;
- its task may still run elsewhere.

A resume uses no failed task dir, so each move may be left out, and a crash between two moves is harmless.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nfresume.domain.executions import Attempt, run_name
from nfresume.launchers import slurm
from nfresume.nextflow import evidence, reading, record, summary, task_dirs
from nfresume.nextflow.record import Status, Task
from nfresume.retained import securing
from nfresume.storage.aside import set_aside
from nfresume.storage.root import ExecutionFolder
from nfresume.system import crashpoints, descriptors


@dataclass(frozen=True)
class _Failed:
    """A task dir that failed or was aborted in attempt `number`. `local`: only processes of the head's host
    could use it."""

    number: int
    name: str
    process: str
    job: str
    local: bool


def unfinished(folder: ExecutionFolder, earlier: Sequence[Attempt]) -> list[str]:
    """Set aside what the last attempt left unfinished. Raises Conflict while jobs of it do not end.

    Only after an unclean end there may be any. If the one before did not end in good order either, its task
    dirs are looked for as well: the last one may have died before it had moved them. Returns the task dirs
    that were moved.
    """
    moved = []
    for before in itertools.takewhile(lambda attempt: not attempt.clean_end, reversed(earlier)):
        seen = summary.of(reading.lines(folder.attempt(before.number)))
        if "slurm" in seen.executors and slurm.available():
            slurm.end_jobs(seen.jobs)
        work = folder.work
        found = [t.dir or task_dirs.find(work, t.hash, t.name, unfinished=True)
                 for t in seen.unfinished.values()]
        moved += set_aside(work, filter(None, found), before.run_name)
    return moved


def failed(
    folder: ExecutionFolder, attempts: int, heartbeat: Callable[[], None] = lambda: None
) -> list[str]:
    """Set aside the task dirs of attempts 1 to `attempts` that would hide a later success from `-resume`.

    All processes of the execution on this host have ended. Where a result could not be made independent of
    the work dir, all stay, as with plain Nextflow: it may be a link into one of them. Returns the task dirs
    that were moved.
    """
    moved: list[str] = []
    if any(securing.any_refused(folder, number) for number in range(1, attempts + 1)):
        return moved
    for task_dir, task in _ended(folder.work, _candidates(folder, attempts)).items():
        heartbeat()
        with contextlib.suppress(OSError):  # it stays, as it would with plain Nextflow
            moved += set_aside(folder.work, [task_dir], run_name(folder.execution_id, task.number))
        crashpoints.reach("half-set-aside")
    return moved


@dataclass
class _Candidates:
    """Failed task dirs that nothing needs, while the records are read in order."""

    failed: dict[str, _Failed] = field(default_factory=dict)
    by_name: dict[str, set[str]] = field(default_factory=dict)  # of the attempt that is being read
    by_process: dict[str, set[str]] = field(default_factory=dict)  # of the attempts before it
    used: set[str] = field(default_factory=set)

    def next_attempt(self) -> None:
        for task_dir, task in self.failed.items():
            self.by_process.setdefault(task.process, set()).add(task_dir)
        self.by_name = {}

    def add(self, task: Task, number: int, *, local: bool) -> None:
        if task.status in (Status.FAILED, Status.ABORTED):
            if (old := self.failed.get(task.dir)) is not None:  # it was set aside, and made anew
                self.by_process.get(old.process, set()).discard(task.dir)
            self.failed[task.dir] = _Failed(number, task.name, task.process, task.job,
                                            local and not task.container)
            self.by_name.setdefault(task.name, set()).add(task.dir)
        elif task.status in (Status.COMPLETED, Status.CACHED):
            self.failed.pop(task.dir, None)
            if task.status is Status.COMPLETED:
                self._drop(self.by_name.pop(task.name, ()))
                self._drop(self.by_process.pop(task.process, ()))

    def _drop(self, task_dirs: Iterable[str]) -> None:
        for task_dir in task_dirs:
            self.failed.pop(task_dir, None)


def _candidates(folder: ExecutionFolder, attempts: int) -> dict[str, _Failed]:
    found, work = _Candidates(), str(folder.work)
    for number in range(1, attempts + 1):
        found.next_attempt()
        local = True
        for line in reading.lines(folder.attempt(number)):
            if isinstance(line, record.Executor):
                local = local and line.name == "local"
            elif isinstance(line, record.Published):
                found.used.add(line.task)
            elif isinstance(line, Task) and line.dir:
                found.add(line, number, local=local)
                found.used.update(task_dirs.of_path(path, work) for path, _, _ in line.inputs)
    return {task_dir: task for task_dir, task in found.failed.items() if task_dir not in found.used}


def _ended(work: Path, failed: dict[str, _Failed]) -> dict[str, _Failed]:
    """Those that cannot run any more: local tasks, and jobs that left an exit status or are gone."""
    try:
        with descriptors.of(work) as fd:
            sure = {d: task for d, task in failed.items() if task.local or _has_exit_status(fd, d)}
    except OSError:
        return {}
    asked = {d: task for d, task in failed.items() if d not in sure and task.job}
    gone = slurm.ended(task.job for task in asked.values()) if asked else set()
    return sure | {d: task for d, task in asked.items() if task.job in gone}


def _has_exit_status(work_fd: int, task_dir: str) -> bool:
    try:
        with evidence.task_dir(work_fd, task_dir) as folder:
            found = evidence.read(folder, ".exitcode")
    except OSError:
        return False
    return found is not None and found.data.strip().isdigit()
