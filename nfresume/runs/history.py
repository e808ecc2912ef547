"""The tasks of an attempt that ran, and the same tasks in earlier attempts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

from nfresume.nextflow import hashing, reading, record
from nfresume.nextflow.record import Status, Task
from nfresume.storage.root import ExecutionFolder

#: So many tasks of a process are compared by their hashes.
_HASHED = 20
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
        self._looked_up: dict[tuple[int, str], _Tasks] = {}
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
            if task.process in by_process and (
                    found := self._best(task, self._tasks(attempt, task.process, by_process))) is not None:
                return self._original(attempt, found)
        return None

    def _tasks(self, attempt: int, process: str, by_process: dict[str, list[Task]]) -> _Tasks:
        key = attempt, process
        if key not in self._looked_up:
            free = [each for each in by_process[process] if each.dir not in self._cached]
            self._looked_up[key] = _Tasks(free, lambda each: self._original(attempt, each)[1])
        return self._looked_up[key]

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

    def _best(self, task: Task, earlier: _Tasks) -> Task | None:
        """By its hash, which leads to this task's; else by its inputs; else by its name."""
        named = earlier.by_name.get(task.name, [])
        same = earlier.by_inputs.get(task.inputs, []) if task.inputs else []
        alike = earlier.by_names.get(_names(task), []) if task.inputs else []
        near = [*reversed(named), *same[:_HASHED]]
        for each in near or earlier.all[:_HASHED]:
            if each.dir and task.dir and hashing.follows(each.dir, task.dir):
                return each
        for wanted, found in ((task.inputs, same), (_names(task), alike)):
            if found:
                return next((each for each in named if wanted in earlier.inputs_of[each.n]), found[0])
        return named[-1] if named else None


class _Tasks:
    """The tasks of a process in an attempt that this attempt does not reuse, to be looked up."""

    def __init__(self, tasks: list[Task], original: Callable[[Task], Task]) -> None:
        self.all = tasks
        self.by_name: dict[str, list[Task]] = {}
        self.by_inputs: dict[tuple[tuple[str, int, int], ...], list[Task]] = {}
        self.by_names: dict[tuple[str, ...], list[Task]] = {}
        self.inputs_of: dict[int, tuple[Any, Any]] = {}  # by number: the inputs, and their names
        for task in tasks:
            ran = original(task)
            self.by_name.setdefault(task.name, []).append(task)
            self.by_inputs.setdefault(ran.inputs, []).append(task)
            self.by_names.setdefault(_names(ran), []).append(task)
            self.inputs_of[task.n] = ran.inputs, _names(ran)


def _names(task: Task) -> tuple[str, ...]:
    return tuple(sorted(os.path.basename(path) for path, _, _ in task.inputs))
