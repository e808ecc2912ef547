"""The nodes of a running workflow: one for each call of a task, one for each list of calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from nfresume.tasks import promises, values
from nfresume.tasks.declaring import Task
from nfresume.tasks.keys import Key
from nfresume.tasks.promises import Promise
from nfresume.tasks.worker import RESULT


class State(StrEnum):
    """WAITING for others, READY to be looked at, RUNNING, or over."""

    WAITING = "waiting"
    READY = "ready"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"  # something that it depends on failed

    @property
    def over(self) -> bool:
        """Nothing more will happen to it."""
        return self in (State.DONE, State.FAILED, State.SKIPPED)


@dataclass(eq=False)
class Node:
    """A call. `expand` instead of a task: a map, whose calls are made when its lists are known."""

    number: int
    task: Task | None
    inputs: Mapping[str, Any]
    call: int = 0  # the how-manieth of this task
    expand: Callable[[Node], None] | None = None
    children: list[Node] = field(default_factory=list)
    state: State = State.WAITING
    waits_for: set[Node] = field(default_factory=set)
    dependants: list[Node] = field(default_factory=list)
    key: Key | None = None
    turn: int = 0
    tries: int = 0
    place: Path | None = None
    result: Mapping[str, Any] | None = None
    _value: Any = None
    _decoded: bool = False

    @property
    def name(self) -> str:
        """As Nextflow names tasks: `trim (2)`."""
        return f"{self.task.function.__name__} ({self.call})" if self.task else f"map {self.number}"

    def __str__(self) -> str:
        return self.name

    def value(self) -> Any:
        """What the call returned; read once. Raises values.Unreadable."""
        if not self._decoded:
            if self.task is None:
                self._value = [child.value() for child in self.children]
            else:
                assert self.result is not None
                self._value = values.decode(self.result["outputs"])
            self._decoded = True
        return self._value

    def digest(self, path: tuple[Any, ...]) -> str | None:
        """The digest of the value or of a part of it, where its worker has computed it."""
        if self.result is None or len(path) > 1:
            return None
        found = self.result["parts"].get(promises.part_name(path[0])) if path else self.result["digest"]
        return str(found) if found else None

    def reference(self, path: tuple[Any, ...] = ()) -> Any:
        """How a worker finds the value: in the file of its result, which nobody else needs to read."""
        if self.task is None:
            if path and isinstance(path[0], int):
                return self.children[path[0]].reference(path[1:])
            return [child.reference() for child in self.children]
        assert self.place is not None
        return {"$": "result", "of": str(self.place / RESULT), "path": promises.path_json(path)}


def encoded(value: Any, writer: values.Writer) -> Any:
    """An input for a worker: promises by reference, anything else as it is."""
    if isinstance(value, Promise):
        return value._node.reference(value._path)
    if isinstance(value, list) and next(promises.nodes_in(value), None) is not None:
        return [encoded(item, writer) for item in value]
    return writer.encode(promises.resolve(value, lambda node: node.value()))
