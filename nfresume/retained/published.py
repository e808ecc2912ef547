"""What an attempt published, as far as its record tells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from nfresume.nextflow import reading, record
from nfresume.nextflow.summary import Summary
from nfresume.retained import uploads
from nfresume.storage.publish import Target
from nfresume.storage.root import ExecutionFolder
from nfresume.system.filesystems import FolderId

#: All lines but those of published paths, of which there may be a million.
_OTHERS = frozenset(get_args(record.Line)) - {record.Published}
#: So many tasks' scripts are read: of all, and of each process.
_MOST_TASKS = 1_000
_MOST_OF_A_PROCESS = 10


@dataclass(frozen=True)
class Published:
    """`targets` of publishDir, on file systems only. `folders` hold other outputs: storeDirs. `tasks` are
    task dirs: the first ones of all, and of each process.

    `doubts` say what cannot be known, one line each: then the work dir must be kept. `succeeded`: the attempt
    ended well by its own record, so it published again whatever earlier ones had published.
    """

    targets: Iterable[Target]
    folders: tuple[str, ...]
    tasks: tuple[str, ...]
    doubts: tuple[str, ...]
    succeeded: bool


def of_attempt(folder: ExecutionFolder, number: int) -> Published:
    """What attempt `number` published. The targets are read from the record while they are iterated."""
    attempt_dir = folder.attempt(number)
    total = Summary()
    ids: dict[str, FolderId] = {}
    outputs: dict[str, None] = {}
    tasks = _Tasks()
    for line in reading.lines(attempt_dir, kinds=_OTHERS):
        total.add(line)
        if isinstance(line, record.Folder):
            ids[line.path] = FolderId(line.inode, line.device, line.source, line.filesystem)
        elif isinstance(line, record.Outputs):
            outputs[line.path] = None
        elif isinstance(line, record.Task):
            tasks.add(line)
    ended_well = total.whole and not total.unpublished and not total.engine_failed
    doubts = [*total.doubts, *filter(None, [uploads.left_out(attempt_dir)])]
    if folder.work.is_dir() and not attempt_dir.is_dir():
        doubts.append(f"{attempt_dir}: its records are gone, and what it published is not known")
    return Published(_Targets(attempt_dir, ids), tuple(outputs), tuple(tasks.dirs), tuple(doubts), ended_well)


class _Tasks:
    """The first task dirs of all, and the first ones of each process."""

    def __init__(self) -> None:
        self.dirs: dict[str, None] = {}
        self._counts: Counter[str] = Counter()

    def add(self, task: record.Task) -> None:
        if not task.dir or task.dir in self.dirs:
            return
        if len(self.dirs) < _MOST_TASKS or self._counts[task.process] < _MOST_OF_A_PROCESS:
            self._counts[task.process] += 1
            self.dirs[task.dir] = None


class _Targets(Iterable[Target]):
    """The published paths, each with its folder's identity at publication."""

    def __init__(self, attempt_dir: Path, ids: Mapping[str, FolderId]) -> None:
        self._attempt_dir = attempt_dir
        self._ids = ids

    def __iter__(self) -> Iterator[Target]:
        for line in reading.lines(self._attempt_dir, kinds=(record.Published,)):
            if isinstance(line, record.Published) and "://" not in line.target:
                yield Target(line.target, self._ids.get(line.target.rpartition("/")[0] or "/"))
