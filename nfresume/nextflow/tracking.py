"""Follow the tasks of an attempt through the entries of its log, and give the lines of its record.

Tasks are told apart by Nextflow's task id and their whole task dir. `Submitted` and `Cached` have only the
short hash and the name; what stays ambiguous is kept apart, never merged. Memory depends on how many tasks
run at a time, not on how many ran.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from nfresume.nextflow import messages, record, task_dirs
from nfresume.nextflow.log import Taker
from nfresume.nextflow.record import Status, Task

#: So many tasks that ended last are remembered: a failure may still be told of them.
_RECENT = 16_384
#: So many things that wait for another entry are remembered.
_WAITING = 4096
_SHORT = len("ab/cdef01")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a cached task was run: its task dir, attempt, duration in milliseconds, and evidence."""

    dir: str
    attempt: int | None = None
    took: int | None = None
    container: str = ""
    evidence: tuple[str, int, int] | None = None


class Tracker:
    """Takes entries, and gives lines to `write`.

    `origin` finds a cached task by short hash and name, None if it cannot tell. `exists` says whether a task
    dir that begins so is in the work dir; it is asked only about entries that may be quotations.
    """

    def __init__(
        self, write: Callable[[record.Line], None],
        origin: Callable[[str, str], Origin | None] = lambda _hash, _name: None,
        exists: Callable[[str], bool] = lambda _dir: True,
    ) -> None:
        self._write = write
        self._origin = origin
        self._exists = exists
        self._number = 0
        self._work: str | None = None
        self._pending: dict[str, list[Task]] = {}  # running, by short hash
        self._recent: OrderedDict[str, Task] = OrderedDict()  # ended, by task dir
        self._early: OrderedDict[tuple[str, str], None] = OrderedDict()  # ended before they began
        self._jobs: OrderedDict[str, tuple[str, str, str]] = OrderedDict()  # submitted to a cluster, by dir
        self._tries: dict[str, int] = {}  # the number of the next try, by name
        self._faults: dict[bytes, tuple[str, str]] = {}  # the last failure told by each thread
        self._published: dict[bytes, record.Published] = {}  # the last file that each thread has published
        self._aborted = False
        #: For `log.LogReader`.
        self.takers: dict[str, Taker] = {
            "session": self._session, "processor": self._processor, "monitor": self._done,
            "publisher": self._publisher, "statistics": self._statistics, "executor": self._executor,
            "grid": self._job, "head": self._head, "error": self._error,
            "pipeline_error": self._pipeline_error,
        }

    def close(self, task_dir_of: Callable[[Task], str] = lambda task: task.dir) -> None:
        """The log has ended: what still runs is aborted. `task_dir_of` finds its task dir."""
        for task in [task for tasks in self._pending.values() for task in tasks]:
            self._ended(task._replace(status=Status.ABORTED, was=task.key,
                                dir=task.dir or task_dir_of(task)))
        self._pending.clear()
        for _, name, job in self._jobs.values():  # the jobs of arrays: their tasks were submitted otherwise
            self._write(record.Job(job, name))
        self._jobs.clear()

    # -- submitted and cached -------------------------------------------------------------------

    def _session(self, at: int, message: str, suspect: bool, _thread: bytes) -> None:
        if message.startswith("["):
            self._seen(at, message, suspect)
        elif message.startswith("Work-dir: "):
            if self._work is None:  # the first one: no script has run yet
                self._work = message.removeprefix("Work-dir: ").rpartition(" [")[0].rstrip("/")
        elif not self._aborted and not suspect:
            self._aborted = True
            text = message.partition(" -- Cause: ")[2]
            self._write(record.Failure(messages.one_line(text), "abort", messages.lines_of(text)))

    def _seen(self, at: int, message: str, suspect: bool, *, head: bool = False) -> None:
        found = messages.seen(message)
        if found is None or (suspect and not self._exists(found[0])):
            return
        short, verb, name = found
        if verb == "Cached":
            self._cached(short, name)
            return
        if (short, name) in self._early:
            del self._early[short, name]
            return
        self._number += 1
        tries = self._tries.pop(name, 2) if verb == "Re-submitted" else (
            self._tries.pop(name, 1) if head else 1)
        task_dir, job = self._job_of(short, name)
        self._start(Task(self._number, name, Status.RUNNING, short, task_dir, submitted=at, tries=tries,
                         job=job))

    def _start(self, task: Task) -> None:
        self._write(task)
        self._pending.setdefault(task.hash, []).append(task)

    def _cached(self, short: str, name: str) -> None:
        self._number += 1
        origin = self._origin(short, name) or Origin("")
        self._ended(Task(
            self._number, name, Status.CACHED, short, origin.dir, cached_from=origin.attempt,
            took=origin.took, container=origin.container, evidence=origin.evidence))

    def _job(self, _at: int, message: str, _suspect: bool, _thread: bytes) -> None:
        if (found := messages.job(message)) is None:
            return
        name, job, path = found
        task_dir = self._inside(path)
        if task_dir is not None:
            self._jobs[task_dir] = (task_dir[:_SHORT], name, job)
            while len(self._jobs) > _WAITING:
                _, (_, name, job) = self._jobs.popitem(last=False)
                self._write(record.Job(job, name))

    def _job_of(self, short: str, name: str) -> tuple[str, str]:
        """The task dir and job of a task that is submitted to a cluster."""
        for task_dir in reversed(self._jobs):
            if self._jobs[task_dir][:2] == (short, name):
                return task_dir, self._jobs.pop(task_dir)[2]
        return "", ""

    # -- ended ----------------------------------------------------------------------------------

    def _done(self, at: int, message: str, suspect: bool, _thread: bytes, *, head: bool = False) -> None:
        if (found := messages.done(message)) is None:
            return
        number, name, code, path, error, job, timed_out = found
        task_dir = self._inside(path)
        if task_dir is None or (suspect and not self._exists(task_dir)):
            return
        failed = code if code is not None else head
        status = Status.FAILED if failed or error or timed_out else Status.COMPLETED
        short = task_dir[:_SHORT]
        task = self._take_pending(short, name, task_dir)
        if task is not None:
            self._ended(Task(task.n, name, status, short, task_dir, number, task.key, code, task.submitted,
                             None, at, task.tries, False, False, error, "", job or task.job))
            return
        # Another thread writes the submission, perhaps a moment later: such a task took no time.
        self._number += 1
        task = Task(self._number, name, status, short, task_dir, number, exit=code, submitted=at,
                    completed=at, error=error, job=job)
        self._early[short, name] = None
        if len(self._early) > _WAITING:
            self._early.popitem(last=False)
        self._ended(task)

    def _take_pending(self, short: str, name: str, task_dir: str = "") -> Task | None:
        """The task that runs with this short hash and name; it no longer runs."""
        tasks = self._pending.get(short)
        if tasks is None:
            return None
        for at, task in enumerate(tasks):
            if task.name == name and task.dir in ("", task_dir):
                del tasks[at]
                if not tasks:
                    del self._pending[short]
                return task
        return None

    def _ended(self, task: Task) -> None:
        self._write(task)
        if task.dir:
            self._recent[task.dir] = task
            if len(self._recent) > _RECENT:
                self._recent.popitem(last=False)

    def _inside(self, path: str) -> str | None:
        """A task dir relative to the work dir; None for a path elsewhere: it is of another run."""
        parent, _, last = path.rpartition("/")
        work, _, first = parent.rpartition("/")
        if self._work is not None and work != self._work:
            return None
        return f"{first}/{last}"

    # -- failed ---------------------------------------------------------------------------------

    def _processor(self, at: int, message: str, suspect: bool, thread: bytes) -> None:
        if message.startswith("Handling unexpected condition"):
            self._fault(message, thread)
        elif (note := messages.note(message)) is not None:
            self._note(note, thread)
        elif (name := messages.stored(message)) is not None:
            self._number += 1
            self._write(Task(self._number, name, Status.STORED))
        else:
            self._seen(at, message, suspect)

    def _fault(self, message: str, thread: bytes) -> None:
        """A task has failed, whatever its exit status is: a declared output may be missing."""
        found = messages.fault(message)
        task_dir = self._inside(found.dir) if found is not None and found.dir else None
        if found is None or task_dir is None:
            return
        self._faults[thread] = task_dir, found.name
        task = self._recent.get(task_dir)
        if task is None:
            pending = self._take_pending(task_dir[:_SHORT], found.name, task_dir)
            if pending is None:  # it could not even be submitted
                self._number += 1
                self._ended(Task(self._number, found.name, Status.FAILED, task_dir[:_SHORT], task_dir,
                                 error=found.reason))
                return
            task = pending._replace(dir=task_dir)
        self._ended(task._replace(status=Status.FAILED, was=task.key, error=task.error or found.reason))

    def _note(self, note: messages.Note, thread: bytes, *, head: bool = False) -> None:
        """The last failure of this thread is ignored or retried; threads may share a name."""
        task_dir, _ = self._faults.get(thread, ("", ""))
        if task_dir[:_SHORT] != note.hash:
            alike = [d for d in reversed(self._recent) if d.startswith(note.hash)]
            task_dir = alike[0] if len(alike) == 1 else ""
        task = self._recent.get(task_dir)
        if task is None:
            return
        if not note.ignored:
            self._tries[task.name] = note.errors + 1 if note.errors else task.tries + head
            if len(self._tries) > _WAITING:
                self._tries.pop(next(iter(self._tries)))
        self._ended(task._replace(
            status=Status.FAILED, was=task.key, ignored=note.ignored, retried=not note.ignored,
            error=task.error or messages.one_line(note.reason)))

    def _error(self, _at: int, message: str, suspect: bool, _thread: bytes) -> None:
        if suspect:
            return
        self._write(record.Failure(messages.error(message), "engine", messages.lines_of(message),
                                   lock=message.startswith("Unable to acquire lock on session")))

    def _pipeline_error(self, _at: int, message: str, _suspect: bool, _thread: bytes) -> None:
        self._write(record.Failure(messages.error(message), "pipeline", messages.lines_of(message)))

    # -- the rest -------------------------------------------------------------------------------

    def _publisher(self, _at: int, message: str, suspect: bool, thread: bytes) -> None:
        if not message.startswith("publishing file: "):
            if not suspect and (text := messages.publish_failure(message)) is not None:
                self._write(record.Unpublished(text))
            return
        found = messages.published(message)
        if len(found) > 1:  # the source tells which of them is meant, unless it was moved
            found = [each for each in found if os.path.lexists(each[0])] or found
        if not found:
            self._write(record.Doubt(f"{messages.one_line(message)}: its path cannot be read from the log"))
        for source, mode, target in found:
            task_dir = self._task_of(source)
            if task_dir or not suspect:
                line = record.Published(target, source, mode, task_dir)
                if self._published.get(thread) != line:  # it is told twice where it replaces a file
                    self._published[thread] = line
                    self._write(line)

    def _task_of(self, source: str) -> str:
        """The task dir in which a path is."""
        return task_dirs.of_path(source, self._work) if self._work is not None else ""

    def _statistics(self, _at: int, message: str, _suspect: bool, _thread: bytes) -> None:
        self._write(record.Statistics(messages.statistics(message)))

    def _executor(self, _at: int, message: str, _suspect: bool, _thread: bytes) -> None:
        self._write(record.Executor(message.rpartition("> ")[2].strip()))

    def _head(self, at: int, message: str, suspect: bool, thread: bytes) -> None:
        """The head of a Python workflow writes all its entries with one logger."""
        if message.startswith("Task completed > "):
            self._done(at, message, suspect, thread, head=True)
        elif message.startswith("Workflow completed > "):
            self._statistics(at, message, suspect, thread)
        elif message.startswith("[warm up] "):
            self._executor(at, message, suspect, thread)
        elif message.startswith("[SLURM] "):
            self._job(at, message, suspect, thread)
        elif (note := messages.note(message)) is not None:
            self._note(note, thread, head=True)
        else:
            self._seen(at, message, suspect, head=True)
