"""Which files of a failed run need no content: lean retention chooses, and changes nothing.

A file is chosen if a finished task has staged it and no coming task is known to need it. In any doubt it is
kept: see `Choice.refused` for what keeps all of them, and `_Choice` for each rule.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path

from nfresume.nextflow import guard, mentions, record, record_file, task_dirs, wrapper
from nfresume.nextflow.reading import newest
from nfresume.nextflow.record import Status, Task
from nfresume.runs import forecasting, lean_doubts, lean_needs
from nfresume.runs.lean_needs import FINISHED
from nfresume.storage.root import ExecutionFolder
from nfresume.system import regular, trees

#: A wrapper or script that is longer is not read whole: then nothing is chosen.
_TEXT_BYTES = 1 << 24
#: So many links are followed from the inputs of tasks that have not finished.
_MOST_LINKS = 100_000
#: The process that made an output, and the ending of its name: tasks of a process make the same.
Kind = tuple[str, str]
#: The processes that read the outputs of each kind.
Readers = Mapping[Kind, Set[str]]


@dataclass(frozen=True)
class Candidate:
    """A file whose content no coming task is known to need. `path` is below the work dir."""

    path: str
    task: Task


@dataclass(frozen=True)
class Choice:
    """What may be emptied. `refused`: why nothing may."""

    candidates: tuple[Candidate, ...] = ()
    refused: str = ""


class Unsure(Exception):
    """Something is not known, so that nothing may be emptied; the text says what."""


def choose(
    folder: ExecutionFolder, session_id: str, pipeline: str, attempts: int, minimum: int,
    heartbeat: Callable[[], None] = lambda: None, readers: int = 1,
) -> Choice:
    """Choose after attempt `attempts`, which has ended in good order. Files below `minimum` bytes stay."""
    try:
        code = _code(folder, pipeline, attempts)
        found = forecasting.forecast(folder, session_id, attempts, code, heartbeat, readers)
        if any("cannot be read" in text for text in (*found.unless, *found.unknown)):
            raise Unsure("Nextflow's cache cannot be read")
        again = {each.task.dir for each in found.again}
        reused = {task.dir: task for task in found.reused if task.dir and task.dir not in again}
        seen = read(folder, attempts, heartbeat)
        return Choice(tuple(_Choice(folder, attempts, seen, reused, heartbeat).candidates(minimum)))
    except Unsure as e:
        return Choice(refused=str(e))


def choose_running(
    folder: ExecutionFolder, pipeline: str, number: int, minimum: int, readers: Readers,
    heartbeat: Callable[[], None] = lambda: None,
) -> Choice:
    """Choose while attempt `number` runs: what all of `readers` have read, and what nobody is reading.

    Finished are the tasks that have completed, or were found in the cache, in this attempt.
    """
    try:
        _code(folder, pipeline, number)
        seen = read(folder, number, heartbeat, running=True)
        done = {task_dir: task for task_dir, task in seen.last.items() if task.status in FINISHED}
        return Choice(tuple(_Choice(folder, number, seen, done, heartbeat).candidates(minimum, readers)))
    except Unsure as e:
        return Choice(refused=str(e))


def _code(folder: ExecutionFolder, pipeline: str, attempts: int) -> Mapping[str, str]:
    """The files of the pipeline. Raises Unsure when they are unknown, or there is a doubt."""
    found = lean_doubts.files_of(folder, pipeline, attempts)
    if not found:
        raise Unsure("the code of its pipeline is not known")
    if reason := lean_doubts.doubt(folder, pipeline, attempts):
        raise Unsure(reason)
    return found


@dataclass
class Seen:
    """What the records say, over all attempts."""

    tasks: dict[str, Task] = field(default_factory=dict)  # the last line of each task dir
    last: dict[str, Task] = field(default_factory=dict)  # the same of the last attempt
    inputs: dict[str, tuple[tuple[str, int, int], ...]] = field(default_factory=dict)
    published: dict[str, set[str]] = field(default_factory=dict)  # sources, by task dir


def read(
    folder: ExecutionFolder, attempts: int, heartbeat: Callable[[], None] = lambda: None, *,
    running: bool = False,
) -> Seen:
    """Read the records. `running`: the last attempt has not ended. Raises Unsure."""
    seen = Seen()
    for number in range(1, attempts + 1):
        heartbeat()
        runs = running and number == attempts
        path = newest(folder.attempt(number), ended=not runs)
        if path is None:
            raise Unsure(f"the record of attempt {number} is not complete")
        last: dict[int, Task] = {}
        for line in record_file.lines(path):
            if isinstance(line, record.Executor) and line.name not in guard.EXECUTORS:
                raise Unsure(f"the executor {line.name} is not guarded")
            if isinstance(line, record.Doubt) and line.damage:
                raise Unsure(f"the log of attempt {number} is damaged")
            if isinstance(line, record.Published):
                seen.published.setdefault(line.task, set()).add(line.source)
            elif isinstance(line, Task) and line.status is not Status.STORED:
                last[line.n] = line
        for task in last.values():
            if not task.dir and not runs:  # of a task that is just beginning it is not known yet
                raise Unsure(f"the task dir of {task.name} is not known")
            if task.dir and task.inputs:
                seen.inputs[task.dir] = task.inputs
        seen.last = {task.dir: task for task in last.values() if task.dir}
        seen.tasks |= seen.last
    return seen


class _Choice:
    """`certain`: the finished tasks that will not run again, as far as Nextflow can tell, by task dir."""

    def __init__(
        self, folder: ExecutionFolder, attempts: int, seen: Seen, certain: Mapping[str, Task],
        heartbeat: Callable[[], None],
    ) -> None:
        self._work = str(folder.work)
        self._real = os.path.realpath(folder.work)
        self._heartbeat = heartbeat
        self._seen = seen
        self._finished = {task_dir: task for task_dir, task in certain.items()
                          if task_dir in seen.tasks and seen.tasks[task_dir].status in FINISHED}
        self._links = 0
        self._kept = mentions.Named()  # what coming tasks need, and what was published
        self._whole = self._half_published()
        # What follows a task that runs again may get another task dir. So the process counts.
        self._needed = {seen.tasks[task_dir].process for task_dir in lean_needs.ever(folder, attempts)
                        if task_dir in seen.tasks}
        for sources_of in self._seen.published.values():
            for source in sources_of:
                self._keep(source)
        self._keep_what_is_needed()

    # -- what is needed -------------------------------------------------------------------------

    def _half_published(self) -> set[str]:
        """Task dirs of which less was published than of others of their process: the rest may follow."""
        most: dict[str, int] = {}
        for task_dir, found in self._seen.published.items():
            if (task := self._seen.tasks.get(task_dir)) is not None:
                most[task.process] = max(most.get(task.process, 0), len(found))
        return {task_dir for task_dir, task in self._seen.tasks.items()
                if len(self._seen.published.get(task_dir, ())) < most.get(task.process, 0)}

    def _keep_what_is_needed(self) -> None:
        """Keep the inputs of every task that is not certain to be reused.

        A failed try does not count if the same task has finished since: its process with the same inputs.
        """
        done = {(t.process, self._paths(t.dir)) for t in self._finished.values()}
        for task_dir, task in self._seen.tasks.items():
            self._heartbeat()
            if task_dir in self._finished:
                continue
            if task.status not in FINISHED and (task.process, self._paths(task_dir)) in done and (
                    self._paths(task_dir)):
                continue
            self._keep_needs_of(task_dir, task)
        for task_dir in self._unknown_task_dirs():
            self._keep_needs_of(task_dir, None)

    def _paths(self, task_dir: str) -> frozenset[str]:
        return frozenset(path for path, _, _ in self._seen.inputs.get(task_dir, ()))

    def _unknown_task_dirs(self) -> Iterator[str]:
        for first in sorted(os.listdir(self._work)):
            if re.fullmatch("[0-9a-f]{2}", first):
                for rest in sorted(os.listdir(f"{self._work}/{first}")):
                    if f"{first}/{rest}" not in self._seen.tasks:
                        yield f"{first}/{rest}"

    def _keep_needs_of(self, task_dir: str, task: Task | None) -> None:
        place = Path(self._work, task_dir)
        for path, _, _ in self._seen.inputs.get(task_dir, ()):
            self._keep(path)
        texts = 0
        for name in (wrapper.RUN, wrapper.STAGE, ".command.sh"):
            text = _text(place / name)
            texts += text is not None
            self._keep_mentions(text or "")
            for path in wrapper.inputs(text, str(place)) if text and name != ".command.sh" else ():
                self._keep(path)
        if not texts and task is not None and place.is_dir():
            raise Unsure(f"the inputs of {task.name} are not known")

    def _keep_mentions(self, text: str) -> None:
        for token in mentions.of(text):
            self._keep(os.path.join(self._work, token))

    def _keep(self, path: str) -> None:
        """Keep what is at a path, where it leads, and where links below it lead."""
        if "://" in path:
            return
        waiting = [path]
        known = set()
        while waiting:
            path = waiting.pop()
            real = os.path.realpath(path)
            for each in {path, real}:
                if (inside := self._inside(each)) is not None:
                    self._kept.add(inside)
            if real in known:
                continue
            known.add(real)
            if os.path.isdir(real):
                waiting += self._links_below(real)
            else:
                named = mentions.of(lean_needs.small_text(Path(real)))
                waiting += [os.path.join(self._work, token) for token in named]

    def _links_below(self, place: str) -> list[str]:
        found = []
        for above, folders, names in trees.walk(place, _unseen):
            self._links += len(folders) + len(names)
            if self._links > _MOST_LINKS:
                raise Unsure("the inputs of tasks that have not finished have too many files")
            paths = (os.path.join(above, name) for name in (*folders, *names))
            found += [path for path in paths if os.path.islink(path)]
        return found

    def _inside(self, path: str) -> str | None:
        """A path relative to the work dir, if it is a task dir or lies in one."""
        for work in (self._work, self._real):
            if path.startswith(f"{work}/") and path.count("/", len(work) + 1) >= 1:
                return path[len(work) + 1:]
        return None

    # -- what may be emptied --------------------------------------------------------------------

    def candidates(self, minimum: int, readers: Readers | None = None) -> Iterator[Candidate]:
        """The files that may be emptied: of outputs that finished tasks have staged, whole outputs only.

        `readers` read an output of each kind; None: those that have done so in this execution.
        """
        units = self._units()
        readers = self._readers(units) if readers is None else readers
        good = {unit for unit in units if self._is_free(unit, units[unit], readers)}
        bad = mentions.Named(units.keys() - good)
        given: set[str] = set()
        for unit in sorted(good):
            self._heartbeat()
            task = self._finished[task_dirs.of_relative(unit)]
            files = list(self._files(unit))
            if any(path in self._kept or path in bad for path in files):
                continue
            for path in files:
                status = os.lstat(os.path.join(self._real, path))
                name = path.rpartition("/")[2]
                control = name.startswith(".command.") or name == ".exitcode"
                if status.st_size >= minimum and not control and mentions.is_safe(path) and path not in given:
                    given.add(path)
                    yield Candidate(path, task)

    def _units(self) -> dict[str, set[str]]:
        """Outputs that finished tasks have staged, with the processes of those tasks."""
        found: dict[str, set[str]] = {}
        for task_dir, task in self._finished.items():
            for path, _, _ in self._seen.inputs.get(task_dir, ()):
                unit = self._inside(os.path.realpath(path))
                if unit is not None and unit.count("/") >= 2:
                    found.setdefault(unit, set()).add(task.process)
        return found

    def _is_free(self, unit: str, own: set[str], readers: Readers) -> bool:
        """True if every process that reads outputs of this kind has read this one, and none needs it.

        `own`: the processes that have read it.
        """
        producer = task_dirs.of_relative(unit)
        if producer not in self._finished or producer in self._whole or unit in self._kept:
            return False
        if self._finished[producer].process in self._needed:
            return False
        expected = readers.get(self._kind(unit))
        return expected is not None and expected <= own

    def _readers(self, units: Mapping[str, set[str]]) -> Readers:
        """The processes that have read outputs of each kind."""
        found: dict[Kind, set[str]] = {}
        for unit, processes in units.items():
            found.setdefault(self._kind(unit), set()).update(processes)
        for task_dir, task in self._seen.tasks.items():
            for path in self._paths(task_dir) if task_dir not in self._finished else ():
                if (unit := self._inside(os.path.realpath(path)) or "") and unit.count("/") >= 2:
                    found.setdefault(self._kind(unit), set()).add(task.process)
        return found

    def _kind(self, unit: str) -> Kind:
        return kind(self._seen.tasks, unit)

    def _files(self, unit: str) -> Iterator[str]:
        place = os.path.join(self._real, unit)
        if not os.path.isdir(place):
            yield unit
            return
        for above, _, names in trees.walk(place, _unseen):
            for name in names:
                yield os.path.join(above, name)[len(self._real) + 1:]


def _unseen(error: OSError) -> None:
    raise Unsure(f"{error.filename} cannot be listed: {error.strerror}")


def kind(tasks: Mapping[str, Task], path: str) -> Kind:
    """The kind of an output; `tasks` are known by task dir, `path` is below the work dir."""
    task = tasks.get(task_dirs.of_relative(path))
    ending = re.sub(r"\d+", "", path.rpartition("/")[2].partition(".")[2])
    return task.process if task is not None else "", ending


def _text(path: Path) -> str | None:
    """A file of a task; None when there is none. Raises Unsure for one that cannot be read whole."""
    try:
        data = regular.content(path, _TEXT_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as e:
        raise Unsure(f"{path} cannot be read: {e.strerror}") from None
    return data.decode("utf-8", "surrogateescape")
