"""Lean retention: empty what no coming task reads, and see that nothing is ever read empty.

At a settlement `empty` chooses, lists and empties. Before an attempt `prepare` sets aside the task dirs whose
files are needed after all, and arms the guard. While it runs a `Watch` sees what is needed. `docs/lean.md`
has the whole picture.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nfresume.domain.executions import Execution, python_workflow, run_name
from nfresume.nextflow import evidence, guard, mentions, reading, record, reuse
from nfresume.nextflow.mentions import Named
from nfresume.nextflow.record import Status, Task
from nfresume.nextflow.summary import Summary
from nfresume.runs import lean_choice, lean_needs
from nfresume.runs.lean_needs import Needs
from nfresume.storage import emptying, sizes
from nfresume.storage.aside import set_aside
from nfresume.storage.emptying import Emptied
from nfresume.storage.root import ExecutionFolder
from nfresume.system import crashpoints, descriptors

_CHUNK = 1 << 22
#: Emptied files are looked at when tasks have ended, but at most for this part of the time.
_LOOK_SHARE = 0.05
_LOOK_SECONDS = 1.0
_DENIED = "ermission denied"
#: So many files and processes are named in the history.
_TOLD = 20
#: In the request of an attempt: it makes all emptied files again.
REHYDRATE = "rehydrate"


# -- at a settlement ------------------------------------------------------------------------------


def empty(
    folder: ExecutionFolder, execution: Execution, attempts: int, minimum: int,
    heartbeat: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Empty what no coming task is known to need. Returns what the history says of it; safe to repeat.

    The manifest lists a file, durably, before it is emptied. An OSError or a damaged manifest raises.
    """
    if python_workflow(execution.pipeline) is not None:
        return {"left_alone": "it is a Python workflow"}
    if (reason := emptying.refusal(folder.cache)) is not None:
        return {"left_alone": reason}
    choice = lean_choice.choose(folder, execution.session_id, execution.pipeline, attempts, minimum,
                                heartbeat)
    if choice.refused:
        return {"left_alone": choice.refused}
    listed = emptying.load(folder.cache)
    known = {entry.path for entry in listed}
    new = _described(folder.work, (c for c in choice.candidates if c.path not in known), heartbeat)
    if new:
        emptying.save(folder.cache, [*listed, *new])
    crashpoints.reach("listed-as-emptied")
    emptied = emptying.finish(folder.work, [*listed, *new], heartbeat)
    if {entry.path for entry in emptied} != {entry.path for entry in (*listed, *new)}:
        emptying.save(folder.cache, emptied)
    _forget_sizes(folder, new)
    return asdict(emptying.total(emptied)) if emptied else {}


def _described(
    work: Path, candidates: Iterable[lean_choice.Candidate], heartbeat: Callable[[], None]
) -> list[Emptied]:
    found = []
    with descriptors.of(work) as work_fd:
        for candidate in candidates:
            heartbeat()
            task = candidate.task
            entry = emptying.describe(work_fd, candidate.path, _digest, heartbeat, task.dir, task.process,
                                      int(task.duration.total_seconds() * 1000))
            if entry is not None:
                found.append(entry)
    return found


def _digest(fd: int, heartbeat: Callable[[], None]) -> str:
    import blake3  # takes some milliseconds, and only lean retention needs it here

    hasher = blake3.blake3()
    at = 0
    while chunk := os.pread(fd, _CHUNK, at):
        heartbeat()
        hasher.update(chunk)
        at += len(chunk)
    return str(hasher.hexdigest())


def _forget_sizes(folder: ExecutionFolder, entries: Iterable[Emptied]) -> None:
    """Have task dirs with emptied files measured again."""
    gone = {entry.producer for entry in entries}
    known = sizes.load(folder.cache)
    if not gone.isdisjoint(known):
        sizes.save(folder.cache, {name: part for name, part in known.items() if name not in gone})


# -- before an attempt ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Prepared:
    """`guard` is bash for BASH_ENV, empty when nothing is emptied. `set_aside` are the task dirs that run
    again, `because` says why."""

    guard: str = ""
    set_aside: tuple[str, ...] = ()
    because: str = ""
    seconds: float = 0.0


def prepare(
    folder: ExecutionFolder, number: int, heartbeat: Callable[[], None] = lambda: None, *,
    everything: bool = False,
) -> Prepared:
    """Make attempt `number` safe before its head starts; safe to repeat after a crash.

    What earlier attempts needed in vain runs again; with `everything`, or where a net does not hold, all that
    is emptied. Then the guard gets the list of what is still empty. Raises Conflict for a damaged manifest,
    OSError, ValueError.
    """
    listed = emptying.load(folder.cache)
    if not listed:
        return Prepared()
    entries = emptying.finish(folder.work, listed, heartbeat, whole=False)
    needs = lean_needs.before(folder, number)
    refused = None if everything else emptying.refusal(folder.cache)
    if any(_is_unknown(folder.attempt(each)) for each in range(1, number)):
        refused = refused or "it is not known what an earlier attempt needed"
    start = lean_needs.producers(needs.paths, entries)
    because = "their files are needed" if start else ""
    if everything or refused is not None:
        start = {entry.producer for entry in entries}
        because = refused or "all files are made whole"
    known = lean_needs.tasks(folder, number - 1)
    again = lean_needs.closure(start, entries, known, folder.work) if start else lean_needs.Again()
    producers = {entry.producer for entry in entries} & again.tasks
    moved = _set_aside(folder, number, producers | again.unnoticed | _readers(folder, number), heartbeat)
    left = [entry for entry in entries if entry.producer not in producers]
    crashpoints.reach("producers-set-aside")
    if left != listed:
        emptying.save(folder.cache, left)
    if not left:
        return Prepared("", tuple(moved), because, _seconds(entries, moved))
    emptying.arm(folder.work, left)
    guard.arm(folder.attempt(number), _names(folder.work, left))
    return Prepared(guard.script(folder.attempt(number)), tuple(moved), because, _seconds(entries, moved))


def _seconds(entries: Iterable[Emptied], moved: Iterable[str]) -> float:
    took = {entry.producer: entry.took for entry in entries}
    return round(sum(took.get(task_dir, 0) for task_dir in moved) / 1000, 1)


def _readers(folder: ExecutionFolder, number: int) -> set[str]:
    """Task dirs of earlier attempts whose results are not to be trusted, and that have not run again.

    Of an attempt that was not looked at to its end, nothing is trusted.
    """
    left: set[str] = set()
    for each in range(1, number):
        place = folder.attempt(each)
        unknown = _is_unknown(place)
        if left or unknown:
            tasks = [line for line in reading.lines(place) if isinstance(line, Task)]
            left -= {task.dir for task in tasks}
            left |= {task.dir for task in tasks if task.status is Status.COMPLETED} if unknown else set()
        left |= lean_needs.load(place).readers
    return left


def _is_unknown(attempt_dir: Path) -> bool:
    """True for an attempt with emptied files of which it was not written what it needed."""
    return (attempt_dir / guard.LIST).exists() and not (attempt_dir / lean_needs.FILE).exists()


def _set_aside(
    folder: ExecutionFolder, number: int, task_dirs: Iterable[str], heartbeat: Callable[[], None]
) -> list[str]:
    moved = []
    for task_dir in sorted(task_dirs):
        heartbeat()
        moved += set_aside(folder.work, [task_dir], run_name(folder.execution_id, number - 1))
        crashpoints.reach("half-set-aside")
    return moved


def _names(work: Path, entries: Iterable[Emptied]) -> set[str]:
    """All that a task must not name: the files, links to them in the work dir, and the folders of both."""
    files = {entry.path for entry in entries}
    found = {name for path in files for name in mentions.ancestors(path)}
    for alias, target in _aliases(work, files):
        found.update(mentions.ancestors(alias))
        for path in files:
            if path.startswith(f"{target}/"):
                found.update(mentions.ancestors(alias + path[len(target):]))
    return found


def _aliases(work: Path, files: set[str]) -> list[tuple[str, str]]:
    """Links in task dirs that lead to emptied files or to folders of some: (path of the link, target)."""
    named = {name for path in files for name in mentions.ancestors(path)}
    real = os.path.realpath(work)
    found = []
    for path in _links(str(work)):
        if (target := os.path.realpath(path)[len(real) + 1:]) in named:
            found.append((path[len(str(work)) + 1:], target))
    return found


def _links(work: str) -> Iterator[str]:
    """The links below the work dir, but for what was set aside. A folder that cannot be listed has none."""
    waiting = [work]
    while waiting:
        place = waiting.pop()
        with contextlib.suppress(OSError), os.scandir(place) as entries:
            for entry in entries:
                if entry.is_symlink():
                    yield entry.path
                elif entry.is_dir(follow_symlinks=False) and not (
                        place == work and entry.name.startswith(".")):
                    waiting.append(entry.path)


# -- while it runs --------------------------------------------------------------------------------


class Watch:
    """Watches attempt `number` for anything that needs an emptied file."""

    def __init__(self, folder: ExecutionFolder, number: int) -> None:
        self._folder = folder
        self._number = number
        self._dir = folder.attempt(number)
        self._entries: list[Emptied] | None = None
        self._looked = 0.0
        self._ended = -1
        self._took = 0.0

    @property
    def active(self) -> bool:
        """True when the guard was armed for this attempt."""
        if self._entries is None:
            self._entries = emptying.load(self._folder.cache) if (self._dir / guard.LIST).exists() else []
        return bool(self._entries)

    def must_end(self, log: Summary) -> bool:
        """True when the attempt must end now. `log` is what is recorded of it so far."""
        if not self.active:
            return False
        if guard.is_needed(self._dir) or log.executors - guard.EXECUTORS:
            return True
        counts = log.counts
        ended = counts.succeeded + counts.failed + counts.ignored + counts.retried
        now = time.monotonic()
        if ended == self._ended or now - self._looked < max(_LOOK_SECONDS, self._took / _LOOK_SHARE):
            return False
        self._ended, self._looked = ended, now
        found = self._were_read()
        self._took = time.monotonic() - now
        return bool(found)

    def _were_read(self, *, fresh: bool = False) -> list[Emptied]:
        return emptying.were_read(self._folder.work, self._entries or (), fresh=fresh)

    def conclude(self, log: Summary) -> Needs:
        """What the attempt needed, now that its head has ended; kept durably. Raises OSError, Conflict."""
        needs = Needs()
        if not self.active:
            return needs
        files = {entry.path for entry in self._entries or ()}
        needs.named = guard.needed(self._dir) | (files if log.executors - guard.EXECUTORS else set())
        failure = log.failure
        texts = [*log.unpublished, *((failure.text, *failure.lines) if failure is not None else ())]
        needs.named |= self._files_in("\n".join(texts), files)
        needs.read = {entry.path for entry in self._were_read(fresh=True)}
        ran: dict[str, Task] = {}
        for line in reading.lines(self._dir):
            if isinstance(line, record.Published):
                needs.named |= self._published(line)
            elif isinstance(line, Task) and line.dir and line.status not in (Status.CACHED, Status.STORED):
                ran[line.dir] = line
        for task in ran.values():
            self._look_at(task, files, needs)
        if needs.named:
            meant = Named(needs.named)
            needs.named |= {target for alias, target in _aliases(self._folder.work, files) if alias in meant}
        if needs.read or needs.readers:  # others may have used what these have made
            needs.readers |= {task.dir for task in ran.values() if task.status is Status.COMPLETED}
        lean_needs.save(self._dir, needs)
        return needs

    def _published(self, line: record.Published) -> set[str]:
        """The emptied files that were published. What leads to them is removed: the next attempt publishes.

        A link is published without a read. So the user would get a file without content.
        """
        work, real = str(self._folder.work), os.path.realpath(self._folder.work)
        source = os.path.realpath(line.source)
        if not source.startswith((f"{work}/", f"{real}/")):
            return set()
        named = Named([source[len(real) + 1:]])
        found = [entry for entry in self._entries or () if entry.path in named]
        if found and "://" not in line.target:
            emptying.withdraw(line.target, real, found)
        return {entry.path for entry in found}

    def _look_at(self, task: Task, files: set[str], needs: Needs) -> None:
        """A task that the guard has ended, or that was denied a file, has needed it.

        A task at which the guard did not look may have needed all of them. One that has completed although it
        was denied a file has found its path by itself: a file that is made again may have another one.
        """
        denied: set[str] = set()
        guarded = True
        with contextlib.suppress(OSError):
            with descriptors.of(self._folder.work) as work, evidence.task_dir(work, task.dir) as place:
                if task.exit == guard.STATUS:
                    texts = [self._text(place, name) for name in (".command.run", ".command.sh")]
                    needs.named |= self._files_in("\n".join(texts), files)
                denied = self._denied(place, files)
                mark = self._text(place, guard.MARK).strip()
                guarded = task.exit is None or mark == str(self._dir)
        if task.status is not Status.COMPLETED:
            needs.named |= denied
        elif denied:
            needs.read |= denied
        elif not guarded:
            needs.named |= files
            needs.readers |= {task.dir}

    def _denied(self, place: int, files: set[str]) -> set[str]:
        found: set[str] = set()
        for name in (".command.err", ".command.log"):
            for line in self._text(place, name).splitlines():
                if _DENIED in line:
                    found |= self._files_in(line, files)
                    found |= {path for path in files if path.rpartition("/")[2] in line}
        return found

    def _text(self, place: int, name: str) -> str:
        kept = evidence.read(place, name)
        return kept.data.decode("utf-8", "replace") if kept is not None else ""

    def _files_in(self, text: str, files: set[str]) -> set[str]:
        """The emptied files that a text names, also by links."""
        work = self._folder.work
        real = os.path.realpath(work)
        found = set()
        for token in mentions.of(text):
            target = os.path.realpath(work / token)[len(real) + 1:]
            found |= {token, target} & files
        return found


def to_make_again(folder: ExecutionFolder, attempts: int, needs: Needs) -> dict[str, Any]:
    """What a new attempt makes again for one that needed emptied files; empty when it would get no further.

    At least one task with emptied files runs again, and its files are not emptied any more. So there are
    never more such attempts than such tasks. `tasks` are all that run again, `seconds` is what they took.
    Raises Conflict for a damaged manifest.
    """
    entries = emptying.load(folder.cache)
    start = lean_needs.producers(needs.named, entries)
    if needs.read or not start:
        return {}
    known = lean_needs.tasks(folder, attempts)
    again = lean_needs.closure(start, entries, known, folder.work).tasks
    files = [entry.path for entry in entries if entry.producer in start]
    processes = sorted({known[task_dir].process for task_dir in again if task_dir in known})
    took = sum(reuse.milliseconds(known[task_dir]) for task_dir in again if task_dir in known)
    return {"files": files[:_TOLD], "file_count": len(files), "tasks": len(again),
            "processes": processes[:_TOLD], "seconds": round(took / 1000, 1)}


def failure_of(needs: Needs) -> str:
    """Why an attempt that needed emptied files has failed, in one line."""
    what = sorted(needs.read or needs.named)
    more = f" and {len(what) - 1} more" if len(what) > 1 else ""
    fate = "was read although its" if needs.read else "is needed, and its"
    return f"{what[0] if what else 'a file'}{more} {fate} content is not kept"

