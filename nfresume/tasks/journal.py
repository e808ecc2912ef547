"""The journal of an execution: the finished tasks of all its attempts, which a relaunch reuses.

It also has the elements that failed of maps that succeeded without them. A relaunch does not try these again.
It has one line of JSON for each task, in the execution's cache folder. Only the head appends to it.
A line that a crash left incomplete is ignored.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nfresume.tasks import keys, task_files
from nfresume.tasks.keys import Key

NAME = "results.jsonl"


@dataclass(frozen=True)
class Record:
    """A finished task. `call` and `turn` count as in `graph.Node`; `seconds` is how long it ran.

    `ignored`: it failed, in a map of this many elements that succeeded by this rule. Else it is empty.
    """

    key: Key
    call: int
    turn: int
    task_dir: str
    seconds: float
    ignored: str = ""


class Journal:
    """The finished tasks of earlier attempts and of this one."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._results: dict[tuple[str, int], Record] = {}
        self._calls: dict[tuple[str, int], Record] = {}
        path = folder / NAME
        if path.exists():
            with path.open("rb") as lines:
                for line in lines:
                    self._parse(line)
        self._file = path.open("ab", buffering=0)
        if self._file.tell():
            self._file.write(b"\n")  # ends a line that a crash left incomplete

    def _parse(self, line: bytes) -> None:
        try:
            data = json.loads(line)
            record = Record(keys.of_json(data["key"]), int(data["call"]), int(data["turn"]),
                            str(data["place"]), float(data["seconds"]), str(data.get("ignored", "")))
        except (ValueError, KeyError, TypeError):
            return
        self._remember(record)

    def _remember(self, record: Record) -> None:
        self._results[record.key.digest, record.turn] = record
        self._calls[record.key.task, record.call] = record

    def add(self, record: Record) -> None:
        """Add a finished task, for this attempt and later ones."""
        data = {"key": record.key.json(), "call": record.call, "turn": record.turn,
                "place": record.task_dir, "seconds": record.seconds, "ignored": record.ignored}
        self._file.write(json.dumps(data).encode() + b"\n")
        self._remember(record)

    def find(self, key: Key, turn: int) -> Record | None:
        """The finished task with this key; None: there is none. `turn` tells equal calls apart."""
        return self._results.get((key.digest, turn))

    def find_call(self, task: str, call: int) -> Record | None:
        """The call number `call` of a task in an earlier attempt; None: there is none."""
        return self._calls.get((task, call))

    def close(self) -> None:
        """Fsync and close the file."""
        os.fsync(self._file.fileno())
        self._file.close()


def changed_output(result: Mapping[str, Any]) -> str | None:
    """Says which output file of a result was changed or deleted since its task ended; None: none was."""
    for path, stamp in result["stamps"].items():
        try:
            now = task_files.stamp(Path(path))
        except OSError:
            return f"its output {Path(path).name} is gone"
        if now != stamp:
            return f"its output {Path(path).name} was changed after it had run"
    return None
