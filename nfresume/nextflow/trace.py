"""The trace of an ended attempt, a TSV file for scripts: its tasks, with their status and duration.

It is written from the record. Nextflow's own trace has more columns, but its metrics make tasks fail in
containers without `ps`, and cost each task some 45 ms. So `-with-trace` is left to the user.
"""

from __future__ import annotations

import csv
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from nfresume.nextflow import record
from nfresume.nextflow.record import Status, Task
from nfresume.system import durable, regular

#: So many tasks that ended last may still change.
_WINDOW = 8192
COLUMNS = ("hash", "name", "status", "exit", "duration")
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"})


@dataclass(frozen=True)
class TraceRow:
    """One task. `status` is COMPLETED, CACHED, FAILED or ABORTED, as in Nextflow's own trace;
    `duration` is the time from submission to completion."""

    hash: str
    name: str
    status: str
    duration: timedelta


def write(path: Path, lines: Iterable[record.Line]) -> None:
    """Write the trace of an ended attempt, atomically; durations are in milliseconds. Raises OSError."""
    with durable.writing(path) as file:
        file.write(("\t".join(COLUMNS) + "\n").encode())
        for task in _ended(lines):
            file.write(("\t".join(_columns(task)) + "\n").encode("utf-8", "surrogateescape"))


def _ended(lines: Iterable[record.Line]) -> Iterator[Task]:
    """Each task as it was at the end. Few lines change a task that ended long before, and follow it soon."""
    last: OrderedDict[int, Task] = OrderedDict()
    for line in lines:
        if isinstance(line, Task) and line.status not in (Status.RUNNING, Status.STORED):
            last[line.n] = line
            if len(last) > _WINDOW:
                yield last.popitem(last=False)[1]
    yield from last.values()


def _columns(task: Task) -> tuple[str, ...]:
    milliseconds = 0 if task.status is Status.CACHED else task.milliseconds
    code = "-" if task.exit is None else str(task.exit)
    return task.hash, task.name.translate(_ESCAPES), task.status, code, str(milliseconds)


def rows(path: Path) -> Iterator[TraceRow]:
    """The rows of a trace; none if the file does not exist."""
    try:
        with open(path, newline="", encoding="utf-8", errors="replace", opener=regular.opener) as file:
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
                duration = timedelta(milliseconds=int(row["duration"]))
                yield TraceRow(row["hash"], row["name"], row["status"], duration)
    except FileNotFoundError:
        return
