"""Sizes by process: task dirs joined with the trace."""

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
    """The size of all task dirs of one process. Names in parentheses, such as `(cache)`, are other parts."""

    process: str
    tasks: int = 0
    size: Size = field(default_factory=Size)


def process_names(folder: ExecutionFolder, attempts: int) -> dict[str, str]:
    """Process by task hash (`ab/cdef01`), from the traces of attempts 1 to `attempts`, or from their logs."""
    names: dict[str, str] = {}
    for number in range(1, attempts + 1):
        attempt_dir = folder.attempt(number)
        rows = list(trace.rows(attempt_dir / TRACE))
        if rows:
            names.update((row.hash, row.name.split(" (", 1)[0]) for row in rows)
        else:
            log = nextflow_log.read(attempt_dir / LOG)
            names.update((task.hash, task.process) for task in log.tasks.values())
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
