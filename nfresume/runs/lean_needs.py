"""What attempts have needed of emptied files, and which tasks must run again so that it is whole.

`attempts/<n>/emptied-needed.json` says what attempt `n` needed. It is written before the attempt is settled,
and the next attempt sets the producers aside. So it does not matter who dies in between.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from nfresume.nextflow import guard, mentions, reading, task_dirs
from nfresume.nextflow.mentions import Named
from nfresume.nextflow.record import Status, Task
from nfresume.storage.emptying import Emptied
from nfresume.storage.root import ExecutionFolder
from nfresume.system import durable, regular

FILE = "emptied-needed.json"
#: Larger files are not looked into, as by the guard.
SHEET_BYTES = guard.SHEET_KIB << 10
_GZIP = b"\x1f\x8b"
FINISHED = (Status.COMPLETED, Status.CACHED)


@dataclass
class Needs:
    """Paths below the work dir. `named`: a task or the head named them, and did not get them.

    `read`: somebody has read them in spite of all. `moved`: they are not there any more. `readers` are task
    dirs whose results are not to be trusted.
    """

    named: set[str] = field(default_factory=set)
    read: set[str] = field(default_factory=set)
    readers: set[str] = field(default_factory=set)
    moved: set[str] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.paths or self.readers)

    @property
    def paths(self) -> set[str]:
        return self.named | self.got

    @property
    def got(self) -> set[str]:
        """What somebody may have got without its content."""
        return self.read | self.moved


_SETS = tuple(each.name for each in fields(Needs))


def save(attempt_dir: Path, needs: Needs) -> None:
    """Write what an attempt has needed, durably. Raises OSError."""
    durable.write(attempt_dir / FILE, json.dumps({
        name: sorted(getattr(needs, name)) for name in _SETS}).encode())


def load(attempt_dir: Path) -> Needs:
    """What an attempt has needed; nothing if it needed nothing. Raises OSError, ValueError."""
    try:
        found = regular.document(attempt_dir / FILE)
    except FileNotFoundError:
        return Needs()
    if not isinstance(found, dict):
        raise ValueError(f"{attempt_dir / FILE} is damaged")
    return Needs(*(set(found.get(name, ())) for name in _SETS))


def before(folder: ExecutionFolder, number: int) -> Needs:
    """What attempts before `number` have needed, together. Raises OSError, ValueError."""
    total = Needs()
    for each in range(1, number):
        found = load(folder.attempt(each))
        for name in _SETS:
            getattr(total, name).update(getattr(found, name))
    return total


def ever(folder: ExecutionFolder, attempts: int) -> set[str]:
    """Task dirs of which attempts 1 to `attempts` have needed a file: their processes' files stay whole."""
    return {task_dirs.of_relative(path) for path in before(folder, attempts + 1).paths}


def tasks(folder: ExecutionFolder, attempts: int) -> dict[str, Task]:
    """The tasks of attempts 1 to `attempts` as they are now, by task dir, with their inputs."""
    found: dict[str, Task] = {}
    for number in range(1, attempts + 1):
        for line in reading.lines(folder.attempt(number)):
            if isinstance(line, Task) and line.dir and line.status is not Status.STORED:
                known = found.get(line.dir)
                found[line.dir] = line._replace(inputs=line.inputs or (known.inputs if known else ()))
    return found


def producers(paths: Iterable[str], entries: Iterable[Emptied]) -> set[str]:
    """The task dirs that made the emptied files which these paths name."""
    named = Named(paths)
    return {entry.producer for entry in entries if entry.path in named}


def closure(
    start: Iterable[str], entries: Iterable[Emptied], known: Mapping[str, Task], work: Path
) -> frozenset[str]:
    """All task dirs that run again if those of `start` do, or must, because their files are empty.

    What uses files of a task that runs again runs again, too, and each one needs its inputs whole. Nextflow
    would reuse some of the users: those with `cache 'lenient'`, and those that read files by paths which are
    values, or stand in a samplesheet.
    """
    found = set(start)
    if not found:  # nobody's scripts and samplesheets need be read
        return frozenset()
    by_producer: dict[str, Named] = {}
    for entry in entries:
        by_producer.setdefault(entry.producer, Named()).add(entry.path)
    staged = {task_dir: _staged(task, work) for task_dir, task in known.items()}
    named = {task_dir: _named(task, work) - staged[task_dir] for task_dir, task in known.items()}
    users: dict[str, set[str]] = {}
    for task_dir in known:
        for path in staged[task_dir] | named[task_dir]:
            users.setdefault(task_dirs.of_relative(path), set()).add(task_dir)
    waiting = list(found)
    while waiting:
        task_dir = waiting.pop()
        new = {user for user in users.get(task_dir, ()) if known[user].status in FINISHED}
        new |= {maker for path in staged.get(task_dir, set()) | named.get(task_dir, set())
                if (maker := task_dirs.of_relative(path)) in by_producer and path in by_producer[maker]}
        waiting += new - found
        found |= new
    return frozenset(found)


def _staged(task: Task, work: Path) -> set[str]:
    """The inputs of a task in the work dir, as they are named and where links lead."""
    found = set()
    real = os.path.realpath(work)
    for path, _, _ in task.inputs:
        for each, place in ((path, str(work)), (os.path.realpath(path), real)):
            if task_dirs.of_path(each, place).count("/"):
                found.add(each[len(place) + 1:])
    return found


def _named(task: Task, work: Path) -> set[str]:
    """What the script of a task names of other task dirs, and what small files among its inputs do."""
    files = [work / task.dir / ".command.sh", *(Path(path) for path, _, _ in task.inputs)]
    texts = map(small_text, files)
    found = {token for text in texts for token in mentions.of(text)}
    real = os.path.realpath(work)
    found |= {target[len(real) + 1:] for token in found
              if (target := os.path.realpath(work / token)).startswith(f"{real}/")}
    return {token for token in found if task_dirs.of_relative(token) != task.dir}


def known_to(task: Task, work: Path) -> set[str]:
    """What a task has staged, and what its script and small files name: the guard looks there, too."""
    return _staged(task, work) | _named(task, work)


def small_text(path: Path) -> str:
    """The content of a small file, which may be gzipped; empty for a larger one, and for what is no file or
    cannot be read."""
    try:
        if not path.is_file() or path.stat().st_size > SHEET_BYTES:
            return ""
        data = regular.content(path)
        if data.startswith(_GZIP):
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
                data = file.read(guard.MOST_UNPACKED)
        return data.decode(errors="replace")
    except (OSError, EOFError, zlib.error):
        return ""
