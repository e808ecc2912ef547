"""Lean retention: empty what no coming task reads, and see that nothing is ever read empty.

At a settlement `empty` chooses, lists and empties; `empty_running` does so while an attempt runs. Before an
attempt `prepare` sets aside the task dirs whose files are needed after all, and arms the guard. While it runs
a `lean_watch.Watch` sees what is needed. `docs/lean.md` has the whole picture.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nfresume.domain.executions import Execution, python_workflow, run_name
from nfresume.nextflow import guard, mentions, reading
from nfresume.nextflow.record import Status, Task
from nfresume.runs import lean_choice, lean_doubts, lean_needs
from nfresume.storage import emptying, sizes
from nfresume.storage.aside import set_aside
from nfresume.storage.emptying import Emptied
from nfresume.storage.root import ExecutionFolder
from nfresume.system import crashpoints, descriptors

_CHUNK = 1 << 22


# -- at a settlement ------------------------------------------------------------------------------


def empty(
    folder: ExecutionFolder, execution: Execution, attempts: int, minimum: int,
    heartbeat: Callable[[], None] = lambda: None, left_ends: Collection[str] = (), readers: int = 1,
) -> dict[str, Any]:
    """Empty what no coming task is known to need. Returns what the history says of it; safe to repeat.

    `left_ends` are files and folders of the work dir that links on other file systems need: they stay whole.
    The manifest lists a file, durably, before it is emptied. An OSError or a damaged manifest raises.
    """
    if python_workflow(execution.pipeline) is not None:
        return {"left_alone": "it is a Python workflow"}
    if (reason := emptying.refusal(folder.cache)) is not None:
        return {"left_alone": reason}
    choice = lean_choice.choose(folder, execution.session_id, execution.pipeline, attempts, minimum,
                                heartbeat, readers)
    if choice.refused:
        return {"left_alone": choice.refused}
    work = os.path.realpath(folder.work)
    free = [c for c in choice.candidates if not _lies_in(f"{work}/{c.path}", left_ends)]
    listed, new = _listed(folder, free, heartbeat)
    emptied = _empty(folder, listed, new, new, heartbeat)
    return asdict(emptying.total(emptied)) if emptied else {}


def _lies_in(path: str, ends: Collection[str]) -> bool:
    """True for one of these paths, and for what is below it."""
    return bool(ends) and (path in ends or any(str(above) in ends for above in Path(path).parents))


def _listed(
    folder: ExecutionFolder, candidates: Iterable[lean_choice.Candidate], heartbeat: Callable[[], None]
) -> tuple[list[Emptied], list[Emptied]]:
    """List candidates, durably. Returns what is empty already, and what is listed now."""
    before = emptying.load(folder.cache)
    listed = emptying.finish(folder.work, before, heartbeat, whole=False)
    known = {entry.path for entry in listed}
    new = _described(folder.work, (c for c in candidates if c.path not in known), heartbeat)
    if new or listed != before:
        emptying.save(folder.cache, [*listed, *new])
    crashpoints.reach("listed-as-emptied")
    return listed, new


def _empty(
    folder: ExecutionFolder, listed: list[Emptied], new: list[Emptied], free: list[Emptied],
    heartbeat: Callable[[], None],
) -> list[Emptied]:
    """Empty those of `new` that are free. Returns all that stay listed."""
    emptied = [*listed, *emptying.finish(folder.work, free, heartbeat)]
    if len(emptied) != len(listed) + len(new):
        emptying.save(folder.cache, emptied)
    _forget_sizes(folder, new)
    return emptied


def empty_running(
    folder: ExecutionFolder, number: int,
    choose: Callable[[Callable[[], None]], Iterable[lean_choice.Candidate]], heartbeat: Callable[[], None],
) -> list[Emptied]:
    """Empty what `choose` gives while attempt `number` runs, under its guard. Returns what was emptied.

    From the listing on the guard starts no task with one of these files. A task may have started just before:
    so what is chosen once more is emptied, and nothing else. An OSError or a damaged manifest raises.
    """
    listed, new = _listed(folder, choose(heartbeat), heartbeat)
    if not new:
        return []
    attempt_dir = folder.attempt(number)
    guard.arm(attempt_dir, _names(folder.work, [*listed, *new]))
    crashpoints.reach("armed")
    free = {candidate.path for candidate in choose(heartbeat)}
    emptied = _empty(folder, listed, new, [entry for entry in new if entry.path in free], heartbeat)
    guard.arm(attempt_dir, _names(folder.work, emptied))
    return emptied[len(listed):]


def _described(
    work: Path, candidates: Iterable[lean_choice.Candidate], heartbeat: Callable[[], None]
) -> list[Emptied]:
    found = []
    with descriptors.of(work) as work_fd:
        for candidate in candidates:
            heartbeat()
            task = candidate.task
            entry = emptying.describe(work_fd, candidate.path, _digest, heartbeat, task.dir, task.process,
                                      task.milliseconds)
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
    folder: ExecutionFolder, number: int, pipeline: str = "", heartbeat: Callable[[], None] = lambda: None, *,
    everything: bool = False,
) -> Prepared:
    """Make attempt `number` safe before its head starts; safe to repeat after a crash.

    What earlier attempts needed in vain runs again; with `everything`, or where a net does not hold or the
    code may read unseen, all that is emptied. Then the guard gets the list of what is still empty. Raises
    Conflict for a damaged manifest, OSError, ValueError.
    """
    listed = emptying.load(folder.cache)
    if not listed:
        return Prepared()
    entries = emptying.finish(folder.work, listed, heartbeat, whole=False)
    needs = lean_needs.before(folder, number)
    refused = None if everything else (
        emptying.refusal(folder.cache) or lean_doubts.doubt(folder, pipeline, number) or None)
    if any(_is_unknown(folder.attempt(each)) for each in range(1, number)):
        refused = refused or "it is not known what an earlier attempt needed"
    start = lean_needs.producers(needs.paths, listed)  # also those that a crash left set aside
    because = "their files are needed" if start else ""
    if everything or refused is not None:
        start = {entry.producer for entry in listed}
        because = refused or "all files are made whole"
    known = lean_needs.tasks(folder, number - 1)
    again = lean_needs.closure(start, listed, known, folder.work)
    aside = again | _readers(folder, number)
    moved = _set_aside(folder, number, aside, heartbeat)
    left = [entry for entry in entries if entry.producer not in aside]
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
    for alias, target in aliases(work, files):
        found.update(mentions.ancestors(alias))
        for path in files:
            if path.startswith(f"{target}/"):
                found.update(mentions.ancestors(alias + path[len(target):]))
    return found


def aliases(work: Path, files: set[str]) -> list[tuple[str, str]]:
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
