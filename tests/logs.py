"""Logs of Nextflow for tests: lines as it writes them, and what is read from them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from nfresume.nextflow import record, summary
from nfresume.nextflow.log import LogReader
from nfresume.nextflow.record import Task
from nfresume.nextflow.summary import Summary
from nfresume.nextflow.tracking import Tracker

WORK = "/root/team/x-1/work"
AT = "Nov-21 04:09:27.083"


def stamped(logger: str, level: str, message: str, at: str = AT, thread: str = "main") -> str:
    return f"{at} [{thread}] {level:<5} {logger} - {message}"


def work_dir(work: str = WORK) -> str:
    return stamped("nextflow.Session", "DEBUG", f"Work-dir: {work} [ext2/ext3]")


def task_dir(number: int, short: str | None = None) -> str:
    """A task dir; `short` is its beginning, such as ab/cdef01."""
    short = short or f"{number % 256:02x}/{number:06x}"
    return f"{short}{number:024x}"


def submitted(
    number: int, name: str, short: str | None = None, verb: str = "Submitted", at: str = AT
) -> str:
    return stamped("nextflow.Session", "INFO",
                   f"[{task_dir(number, short)[:9]}] {verb} process > {name}", at, "Task submitter")


def cached(number: int, name: str, short: str | None = None) -> str:
    return stamped("nextflow.processor.TaskProcessor", "INFO",
                   f"[{task_dir(number, short)[:9]}] Cached process > {name}", thread="Actor Thread 3")


def done(
    number: int, name: str, code: object = 0, short: str | None = None, error: str = "-", work: str = WORK,
    at: str = AT, before: str = "", after: str = "",
) -> str:
    return stamped(
        "n.processor.TaskPollingMonitor", "DEBUG",
        f"Task completed > TaskHandler[{before}id: {number}; name: {name}; status: COMPLETED; exit: {code}; "
        f"error: {error}; workDir: {work}/{task_dir(number, short)}{after}]", at, "Task monitor")


def fault(
    number: int, name: str, reason: str, short: str | None = None, thread: str = "TaskFinalizer-1"
) -> str:
    return stamped(
        "nextflow.processor.TaskProcessor", "DEBUG",
        f"Handling unexpected condition for\n  task: name={name}; work-dir={WORK}/{task_dir(number, short)}\n"
        f"  error [nextflow.exception.ProcessFailedException]: {reason}", thread=thread)


def note(number: int, reason: str, short: str | None = None, thread: str = "TaskFinalizer-1") -> str:
    return stamped("nextflow.processor.TaskProcessor", "INFO",
                   f"[{task_dir(number, short)[:9]}] NOTE: {reason}", thread=thread)


def published(source: str, target: str, mode: str = "SYMLINK") -> str:
    return stamped("nextflow.processor.PublishDir", "TRACE",
                   f"publishing file: {source} -[{mode}]-> {target}", thread="TaskFinalizer-1")


def statistics(**counts: int) -> str:
    told = "; ".join(f"{name}Count={number}" for name, number in counts.items())
    return stamped("n.trace.WorkflowStatsObserver", "DEBUG", f"Workflow completed > WorkflowStats[{told}; ]")


@dataclass
class Read:
    """What a log says: the last line of each task by number, all lines, and their sum."""

    lines: list[record.Line] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)

    @property
    def total(self) -> Summary:
        return summary.of(self.lines)

    @property
    def tasks(self) -> list[Task]:
        return list({line.n: line for line in self.lines if isinstance(line, Task)}.values())

    @property
    def targets(self) -> list[str]:
        return [line.target for line in self.lines if isinstance(line, record.Published)]

    def named(self, name: str) -> Task:
        return next(task for task in reversed(self.tasks) if task.name == name)


def read(path: Path, text: str | bytes | None = None, **more: object) -> Read:
    """Read a log; `text` is written into it first."""
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape"))
    found = Read()
    tracker = Tracker(found.lines.append, **more)  # type: ignore[arg-type]
    reader = LogReader(path, tracker.takers, lambda: STARTED)
    reader.close()
    tracker.close()
    found.damage = reader.damage
    found.lines += [record.Doubt(told, damage=True) for told in reader.damage]
    return found


#: When the runs of these logs began, in the zone of the test.
STARTED = time.mktime((2025, 11, 21, 4, 9, 0, 0, 0, -1))
