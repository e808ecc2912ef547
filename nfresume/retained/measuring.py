"""Sizes by process: task dirs joined with the records of the attempts."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from nfresume.nextflow import reading
from nfresume.nextflow.record import Task
from nfresume.storage.root import ExecutionFolder
from nfresume.storage.scan import Size
from nfresume.store.ledger import UNKNOWN

_HASH = len("ab/cdef01")


@dataclass
class ProcessSize:
    """The size of all task dirs of one process. Names in parentheses, such as `(cache)`, are other parts."""

    process: str
    tasks: int = 0
    size: Size = field(default_factory=Size)


def process_names(folder: ExecutionFolder, attempts: int) -> dict[str, str]:
    """Process by task dir (`ab/cdef...`), or by short hash (`ab/cdef01`) where the task dir is not known.

    From the records of attempts 1 to `attempts`; the last one may still run.
    """
    names: dict[str, str] = {}
    for number in range(1, attempts + 1):
        for line in reading.lines(folder.attempt(number), ended=number < attempts):
            if isinstance(line, Task) and line.label:
                names[line.label] = sys.intern(line.process)
    return names


def by_process(sizes: Mapping[str, Size], names: Mapping[str, str]) -> list[ProcessSize]:
    """Sizes of parts (see `storage.scan`) summed by process, largest first by metered bytes."""
    found: dict[str, ProcessSize] = {}
    for part, size in sizes.items():
        is_task = not part.startswith("(")
        process = names.get(part) or names.get(part[:_HASH], UNKNOWN) if is_task else part
        row = found.setdefault(process, ProcessSize(process))
        row.tasks += is_task
        row.size.add(size)
    return _largest_first(found.values())


def _largest_first(rows: Iterable[ProcessSize]) -> list[ProcessSize]:
    return sorted(rows, key=lambda row: (-row.size.metered, row.process))
