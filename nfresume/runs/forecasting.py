"""Forecast a relaunch from the records, without running anything: what is reused, and what runs again.

A finished task is reused if it is in Nextflow's cache, its task dir is whole, its inputs are what they were,
and all tasks that made its inputs are reused, too. That is certain only if the pipeline and its parameters
are the same; `Forecast.unless` says what may break it.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from nfresume.domain.errors import Conflict
from nfresume.nextflow import cache_db, reading, reuse, task_dirs, wrapper
from nfresume.nextflow.record import Status, Task
from nfresume.runs import explaining, lean_needs, taskdirs
from nfresume.storage import emptying
from nfresume.storage.root import REQUEST, ExecutionFolder
from nfresume.storage.workers import WorkerPool
from nfresume.system import regular

#: So many new files are told by name.
_TOLD = 5
_NO_CACHE = re.compile(r"^[^/\n]*\bcache\s*[=(]?\s*['\"]?false\b", re.MULTILINE)
_PROCESS = re.compile(r"^\s*process\s+(\w+)", re.MULTILINE)
_ALIAS = re.compile(r"\b(\w+)\s+as\s+(\w+)\b")


@dataclass(frozen=True)
class Again:
    """A finished task that would run again. `follows`: only because another one does."""

    task: Task
    why: str
    follows: bool = False


@dataclass
class Forecast:
    """`reused` and `again` are finished tasks. `unfinished` failed or did not end in their last attempt.

    `unless`: what would make reused tasks run after all. `unknown`: what else cannot be known.
    """

    reused: list[Task] = field(default_factory=list)
    again: list[Again] = field(default_factory=list)
    unfinished: list[Task] = field(default_factory=list)
    unless: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    @property
    def saved(self) -> int:
        """Task time of the reused tasks in milliseconds."""
        return sum(map(reuse.milliseconds, self.reused))

    @property
    def spent(self) -> int:
        """Task time of the tasks that would run again, as they took before, in milliseconds."""
        return sum(reuse.milliseconds(each.task) for each in self.again)


def forecast(
    folder: ExecutionFolder, session_id: str, attempts: int, sources: Mapping[str, str],
    heartbeat: Callable[[], None] = lambda: None, readers: int = 1,
) -> Forecast:
    """Forecast the relaunch after attempt `attempts`. `sources` are the pipeline's files (`sources.take`).

    So many `readers` look at task dirs at once. `heartbeat` is called several times a second.
    """
    found = Forecast()
    finished, found.unfinished = _last(folder, attempts)
    entries: set[str] | None = None
    try:
        entries = cache_db.task_dirs(folder.cache, session_id)
    except cache_db.Compressed:
        found.unless.append("Nextflow's cache has lost them: it cannot be read")
    except cache_db.Unreadable as e:
        entries = set()
        found.unknown.append(str(e))
    look = _Look(folder, entries, finished, _never_reused(folder, attempts, sources, found))
    look.at(list(finished.values()), readers, heartbeat)
    look.follow()
    _make_again(folder, look, found, attempts)
    found.again = list(look.again.values())
    found.reused = [task for task in finished.values() if task.dir not in look.again]
    began = _stat(str(folder.attempt(attempts) / REQUEST))
    found.unknown += _unknown(found, look, began[1] if began is not None else 0)
    return found


def _make_again(folder: ExecutionFolder, look: _Look, found: Forecast, attempts: int) -> None:
    """Add the tasks that must make emptied files again, because what runs again reads them."""
    try:
        entries = emptying.load(folder.cache)
    except Conflict as e:
        found.unless.append(e.message)
        return
    if not entries:
        return
    start = {*look.again, *(task.dir for task in found.unfinished if task.dir)}
    closure = lean_needs.closure(start, entries, lean_needs.tasks(folder, attempts), folder.work)
    look.empty(closure - start)
    left = emptying.total(entry for entry in entries if entry.producer not in closure)
    if left.files:
        found.unknown.append(
            f"whether a new or changed task reads one of {left.files:,} files whose content is not kept "
            f"(lean): at most {left.tasks:,} tasks, which took {left.seconds:g} s, then run again with what "
            "follows")


def _last(folder: ExecutionFolder, attempts: int) -> tuple[dict[str, Task], list[Task]]:
    """Finished tasks by task dir, as they ran, and unfinished ones: each as its last attempt left it."""
    completed: dict[str, Task] = {}
    by_attempt: list[dict[int, Task]] = []
    for number in range(1, attempts + 1):
        here: dict[int, Task] = {}
        for line in reading.lines(folder.attempt(number)):
            if isinstance(line, Task) and line.status is not Status.STORED:
                here[line.n] = line
        completed |= {t.dir: t for t in here.values() if t.status is Status.COMPLETED and t.dir}
        by_attempt.append(here)
    finished: dict[str, Task] = {}
    unfinished: dict[str, Task] = {}
    seen: set[str] = set()
    for here in reversed(by_attempt):
        last = {task.name: task for task in here.values()}
        for task in here.values():
            if task.name in seen:
                continue
            if task.status in (Status.COMPLETED, Status.CACHED):
                finished[task.dir] = completed.get(task.dir, task)
            elif last[task.name] is task:
                unfinished[task.name] = task
        seen.update(last)
    return finished, list(unfinished.values())


class _Look:
    """Looks at finished tasks. `again` has those that would run again, by task dir."""

    def __init__(
        self, folder: ExecutionFolder, entries: set[str] | None, finished: Mapping[str, Task],
        never: set[str],
    ) -> None:
        self.again: dict[str, Again] = {}
        self.gathered: set[str] = set()  # processes whose tasks take files of several tasks
        self.folders: dict[str, set[str]] = {}  # outside of the work dir, with the inputs in them
        self.unseen = 0
        self._work = str(folder.work)
        self._entries = entries
        self._finished = finished
        self._never = never
        self._why: dict[str, str | None] = {}
        self._users: dict[str, list[str]] = {}  # the tasks that use files of a task dir
        self._stat = lru_cache(100_000)(_stat)

    def at(self, tasks: Sequence[Task], readers: int, heartbeat: Callable[[], None]) -> None:
        """Look which of these tasks would be reused if all before them are."""
        self._why = {task.dir: self._known(task) for task in tasks}
        waiting = [task for task in tasks if self._why[task.dir] is None]
        WorkerPool(readers, threading.Event(), self._look).run(waiting, heartbeat)
        for task in tasks:
            self._note(task)
            if (why := self._why[task.dir]) is not None:
                self.again[task.dir] = Again(task, why)

    def _known(self, task: Task) -> str | None:
        """Why a task would run again, as far as its files need not be looked at."""
        if task.process.rpartition(":")[2] in self._never:
            return "its process is never reused (`cache false`)"
        if self._entries is not None and task.dir not in self._entries:
            return "Nextflow's cache has lost it"
        return None

    def _look(self, task: Task) -> None:
        """Look at the task dir and the inputs of a task; several threads do so at once."""
        why = taskdirs.problem(Path(self._work, task.dir), native=task.exit is None)
        for path, size, mtime in task.inputs:
            if why is None:
                why = _difference(path, (size, mtime), self._stat(path))
        self._why[task.dir] = why

    def _note(self, task: Task) -> None:
        """Note what a task takes from where."""
        makers = set()
        for path, _, _ in task.inputs:
            if maker := task_dirs.of_path(path, self._work):
                makers.add(maker)
            else:
                place, _, name = path.rpartition("/")
                self.folders.setdefault(place, set()).add(name)
        for maker in makers:
            self._users.setdefault(maker, []).append(task.dir)
        if len(makers) > 1:
            self.gathered.add(task.process)
        if task.exit is None or len(task.inputs) >= wrapper.MOST_INPUTS:
            self.unseen += 1

    def empty(self, task_dirs: Iterable[str]) -> None:
        """Add finished tasks that make emptied files again, and what uses theirs."""
        for task_dir in task_dirs:
            if task_dir in self._finished and task_dir not in self.again:
                self.again[task_dir] = Again(self._finished[task_dir],
                                             "the content of its files is not kept, and is needed (lean)")

    def follow(self) -> None:
        """Add the tasks that use what a task that runs again makes."""
        waiting = list(self.again)
        while waiting:
            maker = waiting.pop()
            for user in self._users.get(maker, ()):
                if user not in self.again:
                    name = self._finished[maker].name
                    self.again[user] = Again(self._finished[user], f"it uses files of {name}", follows=True)
                    waiting.append(user)


def _stat(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _difference(path: str, old: tuple[int, int], new: tuple[int, int] | None) -> str | None:
    if "://" in path or old == new or old[0] < 0:
        return None
    if new is None:
        return f"its input {path} is gone"
    size = f"{old[0]} -> {new[0]} bytes" if old[0] != new[0] else "same size, written again"
    return f"its input {path} has changed ({size})"


def _never_reused(
    folder: ExecutionFolder, attempts: int, sources: Mapping[str, str], found: Forecast
) -> set[str]:
    """Processes with `cache false` in the pipeline's files, or that ran again for it in the last attempt."""
    names: set[str] = set()
    aliases: list[tuple[str, str]] = []
    for path, text in _texts(sources):
        for match in _NO_CACHE.finditer(text):
            before = _PROCESS.findall(text[:match.end()])
            if path.endswith(".config") or not before:
                found.unless.append(f"{path} has `cache = false` for their process")
            else:
                names.add(before[-1])
        aliases += _ALIAS.findall(text)
    names |= {alias for name, alias in aliases if name in names}
    with contextlib.suppress(LookupError):
        names |= {task.process.rpartition(":")[2] for task in explaining.kept(folder.attempt(attempts)).tasks
                  if task.causes[0].kind == "not_cached"}
    return names


def _texts(sources: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for path in sources:
        if path.endswith((".nf", ".config")):
            try:
                yield path, regular.text(Path(path))
            except OSError:
                continue


def _unknown(found: Forecast, look: _Look, since: int) -> list[str]:
    """Sentences about what the records cannot tell."""
    told = []
    new = [os.path.join(place, name) for place, known in look.folders.items()
           for name in _new_files(place, known, since)]
    if new:
        shown = ", ".join(new[:_TOLD]) + (" and others" if len(new) > _TOLD else "")
        told.append(f"whether the pipeline takes new files in the folders of its inputs: {shown}")
    if any(task.ignored for task in found.unfinished):
        told.append("whether tasks that were ignored succeed now")
    if look.gathered and (new or any(task.ignored for task in found.unfinished)):
        found.unless.append("they gather files of several tasks, and then get more of them: "
                            + ", ".join(sorted(look.gathered)))
    if look.unseen:
        told.append(f"the inputs of {look.unseen:,} tasks that have no script or thousands of inputs")
    if found.again:
        told.append("whether a task that takes a value, and no file, of a task that runs again gets another")
    if found.unfinished:
        told.append("what runs after the tasks that have not finished")
    return told


def _new_files(place: str, known: set[str], since: int) -> list[str]:
    """Files beside the inputs, with one of their endings, that have come since (nanoseconds)."""
    endings = {os.path.splitext(name)[1] for name in known}
    try:
        with os.scandir(place) as entries:
            return sorted(e.name for e in entries if e.name not in known and e.is_file()
                          and os.path.splitext(e.name)[1] in endings and e.stat().st_ctime_ns > since)
    except OSError:
        return []
