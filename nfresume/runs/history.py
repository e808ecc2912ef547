"""The tasks of an attempt that ran, and the same tasks in earlier attempts."""

from __future__ import annotations

import os
from collections.abc import Iterator

from nfresume.nextflow import hashing, reading, record
from nfresume.nextflow.record import Status, Task
from nfresume.storage.root import ExecutionFolder

#: So many tasks of a process are compared by their hashes.
_HASHED = 50
#: So many tasks of a process that is gone are looked at.
_SOME = 20


class History:
    """What the records say of attempt `number` and those before it.

    `ran` are the tasks of the attempt that ran, by number. `programs` are those in `bin` folders, by attempt,
    then by path. Only tasks of processes that ran, or that are gone, are remembered.
    """

    def __init__(self, folder: ExecutionFolder, number: int) -> None:
        self.ran: dict[int, Task] = {}
        self.programs: dict[int, dict[str, tuple[int, int]]] = {}
        self._cached: set[str] = set()
        self._present: set[str] = set()
        for line in reading.lines(folder.attempt(number), ended=False):
            if isinstance(line, record.Program):
                self.programs.setdefault(number, {})[line.path] = line.size, line.mtime
            elif isinstance(line, Task):
                self._present.add(line.process)
                if line.status is Status.CACHED:
                    self._cached.add(line.dir)
                elif line.status is not Status.STORED:
                    self.ran[line.n] = line
        self._by_dir = {task.dir: task for task in self.ran.values() if task.dir}
        self._wanted = {task.process for task in self.ran.values()}
        self._earlier: list[tuple[int, dict[str, list[Task]]]] = []  # the newest attempt first
        self._completed: dict[str, tuple[int, Task]] = {}
        for each in range(1, number):
            self._earlier.insert(0, (each, self._of(folder, each)))

    def _of(self, folder: ExecutionFolder, number: int) -> dict[str, list[Task]]:
        found: dict[int, Task] = {}
        for line in reading.lines(folder.attempt(number)):
            if isinstance(line, record.Program):
                self.programs.setdefault(number, {})[line.path] = line.size, line.mtime
            elif isinstance(line, Task) and line.status is not Status.STORED and (
                    line.process in self._wanted or line.process not in self._present):
                found[line.n] = line
        by_process: dict[str, list[Task]] = {}
        for task in found.values():
            if task.status is Status.COMPLETED:
                self._completed[task.dir] = number, task
            by_process.setdefault(task.process, []).append(task)
        return by_process

    def ran_in(self, task_dir: str) -> Task | None:
        """The task of this attempt that ran in a task dir."""
        return self._by_dir.get(task_dir)

    def before(self, task: Task) -> tuple[int, Task] | None:
        """The same task in the newest earlier attempt that had it, and that attempt; None for a new task.

        For one that was reused there it is the task as it had run.
        """
        for attempt, by_process in self._earlier:
            found = self._best(task, by_process.get(task.process, []))
            if found is not None:
                return self._original(attempt, found)
        return None

    def renamed(self, task: Task) -> Iterator[tuple[int, Task]]:
        """Tasks of processes that are gone, which may be this task under another name: some of each."""
        last = task.name.rpartition(":")[2]
        for attempt, by_process in self._earlier:
            for process, tasks in by_process.items():
                if process in self._present:
                    continue
                for each in sorted(tasks, key=lambda t: t.name.rpartition(":")[2] != last)[:_SOME]:
                    yield self._original(attempt, each)

    def _original(self, attempt: int, task: Task) -> tuple[int, Task]:
        return self._completed.get(task.dir, (attempt, task)) if task.status is Status.CACHED else (
            attempt, task)

    def _best(self, task: Task, earlier: list[Task]) -> Task | None:
        """By its hash, which leads to this task's; else by its inputs; else by its name."""
        free = [each for each in earlier if each.dir not in self._cached]
        named = [each for each in free if each.name == task.name]
        first = [*reversed(named), *(each for each in free if each.name != task.name)]
        for each in first[:_HASHED]:
            if each.dir and task.dir and hashing.follows(each.dir, task.dir):
                return each
        if task.inputs:
            inputs = [(each, self._original(0, each)[1].inputs) for each in first]
            same = [each for each, known in inputs if known == task.inputs]
            alike = [each for each, known in inputs if _names(known) == _names(task.inputs)]
            if same or alike:
                return (same or alike)[0]
        return named[-1] if named else None


def _names(inputs: tuple[tuple[str, int, int], ...]) -> list[str]:
    return sorted(os.path.basename(path) for path, _, _ in inputs)
