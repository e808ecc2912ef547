"""Which process fills the disk: sizes of task dirs joined with the trace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from nfresume.nextflow import log as nextflow_log
from nfresume.nextflow import trace
from nfresume.nextflow.command import LOG, TRACE
from nfresume.storage.root import ExecutionFolder
from nfresume.storage.scan import Size
from nfresume.store.ledger import UNKNOWN

_HASH = len("ab/cdef01")


@dataclass
class ProcessSize:
    """What the task dirs of one process take; `(cache)`, `(conda)` and the like are no process."""

    process: str
    tasks: int = 0
    size: Size = field(default_factory=Size)


def process_names(folder: ExecutionFolder, attempts: int) -> dict[str, str]:
    """Process by task hash (`ab/cdef01`), from the traces; from the log where there is none yet."""
    names: dict[str, str] = {}
    for number in range(1, attempts + 1):
        place = folder.attempt(number)
        rows = list(trace.rows(place / TRACE))
        if rows:
            names.update((row.hash, row.name.split(" (", 1)[0]) for row in rows)
        else:
            names.update((task.hash, task.process) for task in nextflow_log.read(place / LOG).tasks.values())
    return names


def by_process(sizes: Mapping[str, Size], names: Mapping[str, str]) -> list[ProcessSize]:
    """Sizes of parts (see `storage.scan`) summed by process, largest first by metered bytes."""
    found: dict[str, ProcessSize] = {}
    for part, size in sizes.items():
        is_task = not part.startswith("(")
        process = names.get(part[:_HASH], UNKNOWN) if is_task else part
        row = found.setdefault(process, ProcessSize(process))
        row.tasks += is_task
        row.size.add(size)
    return _largest_first(found.values())


def _largest_first(rows: Iterable[ProcessSize]) -> list[ProcessSize]:
    return sorted(rows, key=lambda row: (-row.size.metered, row.process))
