"""The trace of an attempt, a TSV file: its tasks, with their status and duration. It is written from the log.

Nextflow's own trace has more columns, but its metrics make tasks fail in containers without `ps`, and cost
each task some 45 ms. So `-with-trace` is left to the user.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from nfresume.nextflow.log import RunLog, Task
from nfresume.system import durable

COLUMNS = ("hash", "name", "status", "exit", "duration")


@dataclass(frozen=True)
class TraceRow:
    """One task. `status` is COMPLETED, CACHED, FAILED or ABORTED, as in Nextflow's own trace;
    `duration` is the time from submission to completion."""

    hash: str
    name: str
    status: str
    duration: timedelta


def write(path: Path, log: RunLog) -> None:
    """Write the trace of an ended attempt, atomically; durations are in milliseconds."""
    lines = ["\t".join(COLUMNS)]
    for task in log.tasks.values():
        milliseconds = task.duration // timedelta(milliseconds=1)
        row = (task.hash, task.name.replace("\t", " "), _status(task), task.exit or "-", str(milliseconds))
        lines.append("\t".join(row))
    durable.write(path, ("\n".join(lines) + "\n").encode())


def _status(task: Task) -> str:
    if task.cached:
        return "CACHED"
    if task.failed:
        return "FAILED"
    return "ABORTED" if task.running else "COMPLETED"


def rows(path: Path) -> Iterator[TraceRow]:
    """The rows of a trace; none if the file does not exist."""
    try:
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
                duration = timedelta(milliseconds=int(row["duration"]))
                yield TraceRow(row["hash"], row["name"], row["status"], duration)
    except FileNotFoundError:
        return


def reusable(traces: list[Path]) -> tuple[int, timedelta]:
    """What `-resume` would reuse after the last of these attempts: number of tasks, and their total time."""
    took = {row.hash: row.duration for path in traces for row in rows(path) if row.status == "COMPLETED"}
    done = [row.hash for row in rows(traces[-1]) if row.status in ("COMPLETED", "CACHED")] if traces else []
    return len(done), sum((took.get(task_hash, timedelta()) for task_hash in done), timedelta())


def reused(trace: Path, earlier: list[Path]) -> timedelta:
    """The task time that `-resume` saved: how long the cached tasks of `trace` took in `earlier` attempts."""
    took = {row.hash: row.duration for path in earlier for row in rows(path) if row.status == "COMPLETED"}
    cached = [row.hash for row in rows(trace) if row.status == "CACHED"]
    return sum((took.get(task_hash, timedelta()) for task_hash in cached), timedelta())
