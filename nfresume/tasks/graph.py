"""The nodes of a running workflow: one for each call of a task, and one for each map."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from nfresume.tasks import promises, values
from nfresume.tasks.declaring import Task
from nfresume.tasks.failing import Scope
from nfresume.tasks.keys import Key
from nfresume.tasks.mapping import Rule
from nfresume.tasks.promises import Promise
from nfresume.tasks.worker import RESULT


class State(StrEnum):
    """The state of a node."""

    WAITING = "waiting"  # for the nodes that it depends on
    READY = "ready"  # to be reused or started
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    IGNORED = "ignored"  # it failed, and its map goes on without it
    SKIPPED = "skipped"  # a node that it depends on failed
    LEFT_OUT = "left out"  # it is in a branch that is not taken

    @property
    def ended(self) -> bool:
        """True for a final state."""
        return self not in (State.WAITING, State.READY, State.RUNNING)

    @property
    def has_value(self) -> bool:
        """True if those that depend on the node can continue."""
        return self in (State.DONE, State.IGNORED)

    @property
    def of_dependants(self) -> State:
        """The state of those that depend on a node without a value."""
        return State.LEFT_OUT if self is State.LEFT_OUT else State.SKIPPED


@dataclass(eq=False)
class Elements:
    """The calls of a map: how many there are, how many of them may still fail, and how many were ignored.

    `admitted` are running or about to; `rule.at_once` limits their number, and the others are in `waiting`.
    """

    total: int
    spare: int
    rule: Rule
    ignored: int = 0
    admitted: set[Node] = field(default_factory=set)
    waiting: deque[Node] = field(default_factory=deque)


@dataclass(eq=False)
class Node:
    """A call of a task, or a node without a task: a map, a dynamic workflow, a conditional section, a branch.

    A node without a task has `expand`, which adds calls when its inputs are known. The value of a map is the
    list of its children's. That of the others is `chosen`, which may contain promises.
    `call`: 1 for the first call of its task, 2 for the second, ... `turn`: 0 for the first call with its key,
    1 for the second, ... `read`: stamps and digests of its input files when its key was made. `tries`: how
    often it was started. `within`: the map that it is an element of; such a map has `elements`. `scope`: the
    call of a workflow that it belongs to. `options`: those that override its task's. `always`: it is never
    reused.
    `ends`: the call of a workflow whose calls it waits for. `last`: such a node, of a dynamic workflow.
    `inner`: the call that a dynamic workflow is. `told`: such a call that asked for the value, and got an
    error.
    """

    number: int
    task: Task | None
    inputs: Mapping[str, Any]
    call: int = 0
    expand: Callable[[Node], None] | None = None
    children: list[Node] = field(default_factory=list)
    is_map: bool = True
    chosen: Any = None
    branch: Node | None = None
    label: str = ""
    state: State = State.WAITING
    waits_for: set[Node] = field(default_factory=set)
    dependants: list[Node] = field(default_factory=list)
    key: Key | None = None
    turn: int = 0
    read: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    tries: int = 0
    task_dir: Path | None = None
    result: Mapping[str, Any] | None = None
    within: Node | None = None
    elements: Elements | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    scope: Scope | None = None
    ends: Scope | None = None
    inner: Scope | None = None
    told: Scope | None = None
    last: Node | None = None
    always: bool = False
    _value: Any = None
    _decoded: bool = False

    @property
    def name(self) -> str:
        """The name, in the form of Nextflow's task names: `trim (2)`."""
        if self.task is None:
            return self.label or f"map {self.number}"
        return f"{self.task.name.rpartition('.')[2]} ({self.call})"

    def __str__(self) -> str:
        return self.name

    @property
    def only_waits(self) -> bool:
        """True when nothing has to be done for the node but to wait for others."""
        return self.task is None and self.expand is None

    def passes(self, other: Node) -> bool:
        """Whether it may continue after a node that it depends on has ended without a value."""
        return self.ends is not None and (other.state is State.LEFT_OUT or self.ends.workflow.catches)

    def is_told(self, scope: Scope) -> bool:
        """True when the function of `scope` got an error for this node, or for one that failed with it."""
        waiting, seen = [self], {self}
        while waiting:
            node = waiting.pop()
            if node.told is scope:
                return True
            around = [each.node for each in node.scope.chain() if each.node] if node.scope is not None else []
            for other in (*node.dependants, *around):
                if other not in seen and other.state.ended and not other.state.has_value:
                    seen.add(other)
                    waiting.append(other)
        return False

    def admit(self, child: Node) -> bool:
        """Whether an element of this map may continue. Otherwise it waits until `leave` returns it."""
        assert self.elements is not None
        if self.elements.rule.at_once and len(self.elements.admitted) >= self.elements.rule.at_once:
            self.elements.waiting.append(child)
            return False
        self.elements.admitted.add(child)
        return True

    def leave(self, child: Node) -> Node | None:
        """Note that an element has ended. Returns the one that may continue in its place."""
        assert self.elements is not None
        self.elements.admitted.discard(child)
        while self.elements.waiting:
            following = self.elements.waiting.popleft()
            if not following.state.ended:
                return following
        return None

    def value(self) -> Any:
        """What the call returned; None for one that is ignored. It is read once. Raises values.Unreadable."""
        waiting = [self]
        while waiting:  # the value of a dynamic workflow that calls itself may consist of thousands of others
            if needed := [node for node in waiting[-1]._consists_of() if not node._decoded]:
                waiting.extend(needed)
            else:
                waiting.pop()._decode()
        return self._value

    def _consists_of(self) -> list[Node]:
        if self.task is not None or self._decoded:
            return []
        return self.children if self.is_map else list(promises.nodes_in(self.chosen))

    def _decode(self) -> None:
        if self._decoded:
            return
        if self.task is None and self.is_map:
            self._value = [child._value for child in self.children]
        elif self.task is None:
            self._value = promises.resolve(self.chosen, lambda node: node._value)
        elif self.state is not State.IGNORED:
            assert self.result is not None
            self._value = values.decode(self.result["outputs"])
        self._decoded = True

    def digest(self, path: tuple[Any, ...]) -> str | None:
        """The digest of the value or of a part of it, if its worker has computed that; else None."""
        if self.result is None or len(path) > 1:
            return None
        found = self.result["parts"].get(promises.part_name(path[0])) if path else self.result["digest"]
        return str(found) if found else None

    def reference(self, path: tuple[Any, ...] = ()) -> Any:
        """JSON that tells a worker in which result file it finds the value, or a part of it.

        So the head need not read the value.
        """
        if self.state is State.IGNORED:
            return promises.take(None, path)
        if self.task is None:
            return [child.reference() for child in self.children]
        assert self.task_dir is not None
        return {"$": "result", "of": str(self.task_dir / RESULT), "path": promises.path_json(path)}


def behind(promise: Promise) -> Any:
    """What a promise stands for once its node is done: the promise of a task or a whole map, or a value."""
    found: Any = promise
    while isinstance(found, Promise) and found._node.task is None:
        node, path = found._node, found._path
        if node.is_map and not (path and isinstance(path[0], int)):
            return found
        if node.is_map:
            child = node.children[path[0]]
            found, path = Promise(found._scheduler, child), path[1:]
        else:
            found = node.chosen
        for at, step in enumerate(path):
            if isinstance(found, Promise):
                found = Promise(found._scheduler, found._node, Any, (*found._path, *path[at:]))
                break
            found = promises.take(found, (step,))
    return found


def encoded(value: Any, writer: values.Writer) -> Any:
    """An input as JSON for a worker: promises by reference, other values encoded."""
    if isinstance(value, Promise):
        value = behind(value)
    if isinstance(value, Promise):
        return value._node.reference(value._path)
    if isinstance(value, list) and next(promises.nodes_in(value), None) is not None:
        return [encoded(item, writer) for item in value]
    return writer.encode(promises.resolve(value, lambda node: node.value()))
