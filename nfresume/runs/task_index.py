"""An index of one record, for pages of tasks: sorted, filtered, and counted in milliseconds.

It is a temporary database of SQLite, which spills to disk, so that a million tasks take little memory. Only
what is new in the record is read each time.
"""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from nfresume.nextflow import reading, record, record_file, task_dirs
from nfresume.nextflow.command import LOG
from nfresume.nextflow.record import Status, Task
from nfresume.nextflow.summary import Summary

_TABLES = """
CREATE TABLE task (
  n INTEGER PRIMARY KEY, dir TEXT, hash TEXT, name TEXT, process TEXT, state TEXT, action TEXT, took INTEGER,
  exit INTEGER, begun INTEGER, ended INTEGER, memory INTEGER, line BLOB
);
CREATE INDEX by_dir ON task (dir);
"""
#: Made when the record was read once, which is faster.
_MORE = """
CREATE INDEX IF NOT EXISTS by_state ON task (state, action, n);
CREATE INDEX IF NOT EXISTS by_name ON task (name);
"""
_PUT = "INSERT OR REPLACE INTO task VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
#: ?1 a state, ?2 a process, ?3 a pattern for names, ?4 one for task dirs; an empty one filters nothing.
_CHOSEN = """ FROM task WHERE (?1 = '' OR state = ?1) AND (?2 = '' OR process = ?2)
AND (?3 = '' OR name LIKE ?3 ESCAPE '\\' OR dir LIKE ?4 ESCAPE '\\') """
#: The sort orders of a page, by name.
SORTS = {"appeared": "n", "newest": "n DESC", "name": "name, n", "name-down": "name DESC, n",
         "state": "state, action, n", "state-down": "state DESC, action, n",
         "exit": "exit IS NULL, exit, n", "exit-down": "exit DESC, n", "shortest": "took, n",
         "longest": "took DESC, n"}
_PAGES = {name: f"SELECT line{_CHOSEN}ORDER BY {order} LIMIT ?5 OFFSET ?6"
          for name, order in SORTS.items()}
_COUNT = f"SELECT count(*){_CHOSEN}"
#: ?1 the processes that use files of the maker's process, ?2 its path, ?3 its number.
_USERS = """SELECT line FROM task
WHERE (state = 'running' OR process IN (SELECT value FROM json_each(?1))) AND instr(line, ?2) AND n <> ?3
ORDER BY n LIMIT ?4"""
#: The states by which tasks can be filtered.
STATES = ("running", "cached", "completed", "failed", "aborted")
#: Memory that SQLite may use for one index, in KiB.
_CACHE = 16 * 1024
#: So many lines are added at once.
_BATCH = 20_000
#: About so many bytes one task takes.
_ROW_BYTES = 700
#: Who has patience reads no more bytes of a record than these while they wait: that takes about 0.1 s.
_AT_ONCE = 1 << 22
#: An index that was waited for within so many seconds is kept: a page may need several of them.
_SPARED = 60.0
#: So many published paths are kept.
MAX_PUBLISHED = 10_000
_LIKE = str.maketrans({"\\": "\\\\", "%": "\\%", "_": "\\_"})


class StillReading(Exception):
    """A large record is still being read, and who asked has no patience. `share` of it was read."""

    def __init__(self, share: float) -> None:
        super().__init__(f"The records of its tasks are being read: {share:.0%}.")


@dataclass(frozen=True)
class Query:
    """What a page of tasks shows. `state` is one of STATES, `sort` one of SORTS.

    Empty: all tasks, in order of appearance.
    """

    state: str = ""
    process: str = ""
    text: str = ""
    sort: str = ""
    offset: int = 0
    limit: int = 200


@dataclass(frozen=True)
class Page:
    """A page of tasks. `total`: how many tasks there are on all pages."""

    tasks: list[Task]
    total: int


class TaskIndex:
    """The index of one record. `summary` is its sum. Threads must hold `lock`."""

    def __init__(self, path: Path) -> None:
        self.lock = threading.Lock()
        self.summary = Summary()
        self.published: list[record.Published] = []
        self.version = 0  # grows with each refresh that found something
        self.edges: Counter[tuple[str, str]] = Counter()  # how many tasks of a process use files of another
        self.figures: dict[str, tuple[int, Any]] = {}  # see `runs.task_figures`
        self._reader = record_file.Reader(path)
        self._apart: threading.Thread | None = None
        self.awaited = -math.inf  # when it was last waited for, by the monotonic clock
        self.database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self.database.execute(f"PRAGMA cache_size = -{_CACHE}")
        self.database.executescript(_TABLES)

    def refresh(self) -> None:
        """Read what is new in the record."""
        self._add(data for _, data in self._reader.raw())

    def wait(self, patience: float) -> None:
        """Have a thread read what is new in the record, if it is much. Raises StillReading, OSError.

        Some threads may call this at a time, without the lock.
        """
        size = self._reader.path.stat().st_size
        apart = self._apart
        if apart is None or not apart.is_alive():
            if size - self._reader.offset <= _AT_ONCE:
                return
            apart = self._apart = threading.Thread(target=self._refresh_apart, name="tasks", daemon=True)
            apart.start()
        apart.join(patience)
        if apart.is_alive():
            raise StillReading(self._reader.offset / size)

    def _refresh_apart(self) -> None:
        with self.lock, contextlib.suppress(OSError):  # the next reader meets it
            self.refresh()

    def fill(self, lines: Iterator[record.Line]) -> None:
        """Take these lines, of an attempt that has no record."""
        self._add(record.encode(line) for line in lines)

    def _add(self, lines: Iterator[bytes]) -> None:
        while batch := list(islice(lines, _BATCH)):
            self.database.execute("BEGIN")
            tasks = []
            for data in record.latest(batch):
                line = record.decode(data)
                if line is None:
                    continue
                self.summary.add(line)
                if isinstance(line, Task):
                    tasks.append((line, data))
                elif isinstance(line, record.Published) and len(self.published) < MAX_PUBLISHED:
                    self.published.append(line)
            self.database.executemany(_PUT, (_row(task, data) for task, data in tasks))
            self._link([task for task, _ in tasks])
            self.database.execute("COMMIT")
            self.version += 1
        self.database.executescript(_MORE)

    def _link(self, tasks: list[Task]) -> None:
        """Count the processes whose files these tasks have used."""
        makers = {task.dir: task.process for task in tasks}
        for task in tasks:
            if task.inputs and task.status is not Status.RUNNING and task.was in ("", "RUNNING"):
                dirs = {task_dirs.of_path(path, self.summary.work) for path, _, _ in task.inputs} - {""}
                for process in {makers[name] if name in makers else self._process(name) for name in dirs}:
                    if process is not None:
                        self.edges[process, task.process] += 1

    def _process(self, name: str) -> str | None:
        """The process of the task with this whole task dir."""
        found = self.database.execute("SELECT process FROM task WHERE dir = ? LIMIT 1", (name,)).fetchone()
        return found[0] if found else None

    def page(self, query: Query) -> Page:
        """A page of tasks."""
        text = query.text.translate(_LIKE)
        chosen = (query.state if query.state in STATES else "", query.process,
                  f"%{text}%" if text else "", f"{text}%")
        if text:
            total = self.database.execute(_COUNT, chosen).fetchone()[0]
        else:
            total = sum(getattr(row, chosen[0] or "total") for row in self.summary.processes.values()
                        if query.process in ("", row.process))
        sort = query.sort if query.sort in SORTS else "appeared"
        return Page(_tasks(self.database.execute(_PAGES[sort], (*chosen, query.limit, query.offset))), total)

    def task(self, n: int) -> Task | None:
        """The task with this number; None if there is none."""
        return next(iter(_tasks(self.database.execute("SELECT line FROM task WHERE n = ?", (n,)))), None)

    def by_dir(self, name: str) -> Task | None:
        """The task with this whole task dir; None if there is none."""
        found = self.database.execute("SELECT line FROM task WHERE dir = ? ORDER BY n DESC LIMIT 1", (name,))
        return next(iter(_tasks(found)), None)

    def named(self, name: str, most: int) -> list[Task]:
        """The tasks with exactly this name, the last one first."""
        return _tasks(self.database.execute("SELECT line FROM task WHERE name = ? ORDER BY n DESC LIMIT ?",
                                            (name, most)))

    def users_of(self, maker: Task, most: int) -> list[Task]:
        """The first tasks that use files of a task."""
        path = json.dumps(f"{self.summary.work}/{maker.dir}/")[1:-1].encode()
        processes = json.dumps([user for source, user in self.edges if source == maker.process])
        return _tasks(self.database.execute(_USERS, (processes, path, maker.n, most)))

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return _ROW_BYTES * sum(row.total for row in self.summary.processes.values())


def _row(task: Task, data: bytes) -> tuple[Any, ...]:
    """The row of a task, for _PUT."""
    action = "ignored" if task.ignored else "retried" if task.retried else ""
    state = "cached" if task.status is Status.STORED else task.status.lower()
    begun = task.started if task.started is not None else task.submitted
    return (task.n, task.dir, task.hash, task.name, task.process, state, action, task.milliseconds, task.exit,
            begun, task.completed, task.memory, data)


def _tasks(rows: sqlite3.Cursor) -> list[Task]:
    return [line for (data,) in rows if isinstance(line := record.decode(data), Task)]


class Indexes:
    """The indexes of the records that were looked at last.

    Together they have at most about `most` bytes, and more only for a minute.
    """

    def __init__(self, most: int = 1 << 29) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._known: OrderedDict[Path, tuple[tuple[int, int], TaskIndex]] = OrderedDict()

    @contextmanager
    def of(
        self, attempt_dir: Path, *, ended: bool, patience: float | None = None
    ) -> Iterator[TaskIndex]:
        """The index of an attempt, as new as its record. `ended`: see `reading.lines`.

        Raises StillReading when reading it takes longer than `patience` seconds; it is read all the same.
        """
        path = reading.newest(attempt_dir, ended=ended)
        index, fresh = self._take(path or attempt_dir / LOG, whole=path is None)
        if path is not None and patience is not None:
            index.awaited = time.monotonic()
            index.wait(patience)
        with index.lock:
            if path is not None:
                index.refresh()
            elif fresh:
                index.fill(reading.of_log(attempt_dir, ended=ended))
            self._evict(index)
            yield index

    def _take(self, path: Path, *, whole: bool) -> tuple[TaskIndex, bool]:
        """The index of a file, and whether it is new. `whole`: it is made anew when the file has changed."""
        try:
            found = path.stat()
            stamp = found.st_ino, found.st_size if whole else 0
        except OSError:
            stamp = 0, 0
        with self._lock:
            known = self._known.get(path)
            fresh = known is None or known[0] != stamp
            if known is None or fresh:
                known = self._known[path] = stamp, TaskIndex(path)
            self._known.move_to_end(path)
            return known[1], fresh

    def _evict(self, but: TaskIndex) -> None:
        """Forget the indexes that were not used for longest. Whoever still has one may use it."""
        with self._lock:
            size = sum(index.size for _, index in self._known.values())
            for path, (_, index) in list(self._known.items()):
                if size <= self._most:
                    return
                if index is not but and time.monotonic() - index.awaited > _SPARED:
                    size -= index.size
                    del self._known[path]
