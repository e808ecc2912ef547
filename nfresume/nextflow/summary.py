"""What the lines of a record say in total. Its size depends on how many tasks run, not on how many ran."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from nfresume.domain.executions import TaskCounts
from nfresume.nextflow import record
from nfresume.nextflow.record import Status, Task

#: So many lines of a kind are kept.
_MOST = 100
#: So many failed tasks are in the sums.
_FIRST = 5


@dataclass
class Progress:
    """How many tasks of one process are in each state. `failed` includes those ignored or retried."""

    process: str
    cached: int = 0
    running: int = 0
    completed: int = 0
    failed: int = 0
    aborted: int = 0
    ignored: int = 0
    retried: int = 0

    @property
    def total(self) -> int:
        """Tasks that have appeared so far."""
        return self.cached + self.running + self.completed + self.failed + self.aborted

    @property
    def submitted(self) -> int:
        return self.total - self.cached

    @property
    def failed_for_good(self) -> int:
        """Tasks that failed, and were neither tried again nor ignored."""
        return max(0, self.failed - self.retried - self.ignored)


_COLUMNS = {Status.CACHED: "cached", Status.STORED: "cached", Status.RUNNING: "running",
            Status.COMPLETED: "completed", Status.FAILED: "failed", Status.ABORTED: "aborted"}
#: What a task with a key (see `record.Task.key`) counts for.
_COUNTED = {" ".join((status, *flags)): (name, *flags)
            for status, name in _COLUMNS.items() for flags in ((), ("retried",), ("ignored",))}


@dataclass
class Summary:
    """The sum of a record's lines. `add` takes them one by one.

    `unfinished` are the tasks that were submitted and not seen to end, by their number, `failed` those that
    failed and were neither retried nor ignored, without their inputs. `error` is the first
    error in one line, and `report` its lines. `statistics` are Nextflow's own counts, None while the workflow
    has not ended. `arrays` are jobs of many tasks. `damaged`: lines of the log are missing. `finished`: the
    record has its end.
    """

    work: str = ""
    processes: dict[str, Progress] = field(default_factory=dict)
    unfinished: dict[int, Task] = field(default_factory=dict)
    failed: dict[int, Task] = field(default_factory=dict)
    stored: int = 0
    published: int = 0
    executors: set[str] = field(default_factory=set)
    arrays: dict[str, str] = field(default_factory=dict)
    unpublished: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    damaged: bool = False
    statistics: dict[str, int] | None = None
    failure: record.Failure | None = None
    finished: bool = False

    def add(self, line: record.Line) -> None:
        """Add the next line of a record."""
        if isinstance(line, Task):
            self._task(line)
        elif isinstance(line, record.Published):
            self.published += 1
        elif isinstance(line, record.Job):
            if not line.task:
                self.arrays[line.job] = line.name
        elif isinstance(line, record.Failure):
            self._failure(line)
        elif isinstance(line, record.Statistics):
            self.statistics = dict(line.counts)
        elif isinstance(line, record.Executor):
            self.executors.add(line.name)
        elif isinstance(line, record.Unpublished):
            self.unpublished += [line.text] if len(self.unpublished) < _MOST else []
        elif isinstance(line, record.Doubt):
            self.doubts += [line.text] if len(self.doubts) < _MOST else []
            self.damaged |= line.damage
        elif isinstance(line, record.Header):
            self.work = line.work
        elif isinstance(line, record.End):
            self.finished = True

    def _task(self, task: Task) -> None:
        progress = self.processes.get(task.process)
        if progress is None:
            progress = self.processes[task.process] = Progress(task.process)
        row = progress.__dict__
        for name in _COUNTED.get(task.was, ()):
            row[name] -= 1
        for name in _COUNTED[task.key]:
            row[name] += 1
        if task.status is Status.STORED:
            self.stored += 1
        if task.status in (Status.RUNNING, Status.ABORTED):
            self.unfinished[task.n] = task
        else:
            self.unfinished.pop(task.n, None)
        if task.key != Status.FAILED:
            self.failed.pop(task.n, None)
        elif len(self.failed) < _MOST:
            self.failed[task.n] = task._replace(inputs=())

    def _failure(self, failure: record.Failure) -> None:
        """The first error is the cause of the later ones; Nextflow's own words count before a pipeline's."""
        order = ("engine", "abort", "pipeline")
        if self.failure is None or order.index(failure.by) < order.index(self.failure.by):
            self.failure = failure

    @property
    def sums(self) -> record.Sums:
        """What most pages need to know; the first failed tasks in order of their ends."""
        rows = list(self.processes.values())  # another thread may add one meanwhile
        failed = sorted(self.failed.values(), key=lambda t: (t.completed is None, t.completed or 0, t.n))
        return record.Sums(tuple(tuple(vars(row).values()) for row in rows), self.published,
                           tuple(failed[:_FIRST]))

    @property
    def error(self) -> str:
        """The error in one line; empty when there is none."""
        return self.failure.text if self.failure is not None else ""

    @property
    def report(self) -> tuple[str, ...]:
        """The lines of the error's report."""
        return self.failure.lines if self.failure is not None else ()

    @property
    def engine_failed(self) -> bool:
        """True when Nextflow has reported an error, and not only the pipeline."""
        return self.failure is not None and self.failure.by != "pipeline"

    @property
    def lock_conflict(self) -> bool:
        """True when another Nextflow holds the session's cache."""
        return self.failure is not None and self.failure.lock

    @property
    def counts(self) -> TaskCounts:
        """See `counts`."""
        return counts(list(self.processes.values()))  # another thread may add one meanwhile

    @property
    def jobs(self) -> dict[str, str]:
        """The jobs on a cluster that may not have ended, with the names of their tasks."""
        return {task.job: task.name for task in self.unfinished.values() if task.job} | self.arrays

    @property
    def completed(self) -> bool:
        """True when the workflow ran to its end, successfully or not."""
        return self.statistics is not None

    @property
    def whole(self) -> bool:
        """True when the log has its end, all completions that the end counts, and no damage."""
        if self.statistics is None or self.damaged:
            return False
        ended = sum(row.completed + row.failed for row in self.processes.values())
        return ended >= self.statistics.get("succeeded", 0)


def counts(rows: Sequence[Progress]) -> TaskCounts:
    """How many tasks had each outcome; the cached ones include those that were skipped as stored."""
    return TaskCounts(
        submitted=sum(row.submitted for row in rows), cached=sum(row.cached for row in rows),
        succeeded=sum(row.completed for row in rows), failed=sum(row.failed for row in rows),
        ignored=sum(row.ignored for row in rows), retried=sum(row.retried for row in rows),
    )


def of(found: Iterable[record.Line]) -> Summary:
    """The sum of these lines."""
    total = Summary()
    for line in found:
        total.add(line)
    return total
