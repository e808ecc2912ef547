"""Find tasks of earlier attempts, and of earlier supervisors of this one, in their records.

Nextflow names a cached task by its short hash and its name only. The index is a temporary database on disk,
so that a million tasks take little memory. It is made when it is first asked.
"""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from nfresume.nextflow import reading, record, record_file, task_dirs
from nfresume.nextflow.record import Status, Task
from nfresume.nextflow.tracking import Origin

_TABLE = """
CREATE TABLE task (
  dir TEXT PRIMARY KEY, hash TEXT, name TEXT, attempt INTEGER, took INTEGER, container TEXT, evidence TEXT
) WITHOUT ROWID;
CREATE INDEX by_hash ON task (hash);
"""


class Earlier:
    """The finished tasks of attempts before `number`. `work` is the work dir."""

    def __init__(self, attempts: Path, number: int, work: Path) -> None:
        self._attempts = attempts
        self._number = number
        self._work = work
        self._database: sqlite3.Connection | None = None

    def knows(self, task_dir: str) -> bool:
        """True for the short hash or the whole task dir of a finished task."""
        return self._rows().execute("SELECT 1 FROM task WHERE hash = ?1 OR dir = ?1 LIMIT 1",
                                    (task_dir,)).fetchone() is not None

    def _rows(self) -> sqlite3.Connection:
        if self._database is None:
            self._database = self._index()
        return self._database

    def origin(self, short: str, name: str) -> Origin | None:
        """Where a cached task was run; None when that cannot be told."""
        rows = self._rows().execute(
            "SELECT dir, attempt, took, container, evidence FROM task WHERE hash = ? AND name = ?",
            (short, name)).fetchall()
        if len(rows) != 1:  # none, or several: the file system tells which of them is there
            task_dir = task_dirs.find(self._work, short, name)
            rows = [row for row in rows if row[0] == task_dir] or ([(task_dir, None, None, "", None)]
                                                                  if task_dir else [])
        if not rows:
            return None
        task_dir, attempt, took, container, evidence = rows[0]
        return Origin(task_dir, attempt, took, container, tuple(json.loads(evidence)) if evidence else None)

    def _index(self) -> sqlite3.Connection:
        found = sqlite3.connect("", isolation_level=None, check_same_thread=False)  # temporary, on disk
        found.executescript(_TABLE)
        found.execute("BEGIN")
        for number in range(1, self._number):
            for line in reading.lines(self._attempts / str(number)):
                if isinstance(line, Task) and line.dir:
                    self._add(found, number, line)
        found.execute("COMMIT")
        return found

    def _add(self, database: sqlite3.Connection, number: int, task: Task) -> None:
        if task.status is Status.COMPLETED:
            evidence = None if task.evidence is None else json.dumps(task.evidence)
            database.execute("INSERT OR REPLACE INTO task VALUES (?, ?, ?, ?, ?, ?, ?)", (
                task.dir, task.hash, task.name, number, task.milliseconds, task.container, evidence))
        elif task.status is Status.FAILED:
            database.execute("DELETE FROM task WHERE dir = ?", (task.dir,))

    def close(self) -> None:
        """Drop the index."""
        if self._database is not None:
            self._database.close()
            self._database = None


class Predecessors:
    """What earlier supervisors of this attempt have recorded of its finished tasks, by task dir.

    Their archives stay, so the files need not be read again, which may be gone meanwhile.
    """

    def __init__(self, attempt_dir: Path, token: int) -> None:
        mine = record_file.path_of(attempt_dir, token)
        self._records = [path for path in record_file.paths(attempt_dir) if path != mine]
        self._database: sqlite3.Connection | None = None

    def find(self, task_dir: str) -> Task | None:
        """The task as it was recorded with its evidence; None when it was not."""
        if not self._records:
            return None
        if self._database is None:
            self._database = self._index()
        row = self._database.execute("SELECT line FROM task WHERE dir = ?", (task_dir,)).fetchone()
        line = record.decode(row[0]) if row is not None else None
        return line if isinstance(line, Task) else None

    def _index(self) -> sqlite3.Connection:
        found = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        found.execute("CREATE TABLE task (dir TEXT PRIMARY KEY, line TEXT) WITHOUT ROWID")
        found.execute("BEGIN")
        for path in self._records:
            for line in record_file.lines(path):
                if isinstance(line, Task) and line.dir and line.evidence is not None:
                    found.execute("INSERT OR REPLACE INTO task VALUES (?, ?)",
                                  (line.dir, record.encode(line).decode()))
        found.execute("COMMIT")
        return found

    def close(self) -> None:
        """Drop the index."""
        if self._database is not None:
            self._database.close()
            self._database = None
