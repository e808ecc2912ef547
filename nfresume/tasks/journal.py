"""Results of an execution's tasks, across its attempts: what a relaunch need not run again.

One line of JSON for each finished task, in the execution's cache folder. Only appended to, by the one head
that owns the execution; a line that a crash left half written is passed over.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nfresume.tasks import keys, places
from nfresume.tasks.keys import Key

NAME = "results.jsonl"


@dataclass(frozen=True)
class Record:
    """A finished task: the `call`-th of this task in its attempt, the `turn`-th of those with this key."""

    key: Key
    call: int
    turn: int
    place: str  # its task dir
    seconds: float


class Journal:
    """The results of earlier attempts, and where new ones are added."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._results: dict[tuple[str, int], Record] = {}
        self._calls: dict[tuple[str, int], Record] = {}
        path = folder / NAME
        if path.exists():
            with path.open("rb") as lines:
                for line in lines:
                    self._take(line)
        self._file = path.open("ab", buffering=0)
        if self._file.tell():
            self._file.write(b"\n")  # ends a line that was cut off

    def _take(self, line: bytes) -> None:
        try:
            data = json.loads(line)
            record = Record(keys.of_json(data["key"]), int(data["call"]), int(data["turn"]),
                            str(data["place"]), float(data["seconds"]))
        except (ValueError, KeyError, TypeError):
            return
        self._remember(record)

    def _remember(self, record: Record) -> None:
        self._results[record.key.digest, record.turn] = record
        self._calls[record.key.task, record.call] = record

    def add(self, record: Record) -> None:
        """Remember a result, now and in later attempts."""
        data = {**vars(record), "key": record.key.json()}
        self._file.write(json.dumps(data).encode() + b"\n")
        self._remember(record)

    def find(self, key: Key, turn: int) -> Record | None:
        """The result of this very call, by key."""
        return self._results.get((key.digest, turn))

    def before(self, task: str, call: int) -> Record | None:
        """What the `call`-th call of a task was in an earlier attempt."""
        return self._calls.get((task, call))

    def close(self) -> None:
        """Everything on disk."""
        os.fsync(self._file.fileno())
        self._file.close()


def changed(result: Mapping[str, Any]) -> str | None:
    """Which file of a result is not what its task left there; None when all are."""
    for path, stamp in result["stamps"].items():
        try:
            now = places.stamp(Path(path))
        except OSError:
            return f"its output {Path(path).name} is gone"
        if now != stamp:
            return f"its output {Path(path).name} was changed after it had run"
    return None
