"""Promises: inside a workflow a call of a task returns a promise of its result. Promises make the graph."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, get_args, get_origin

_PLAIN = (str, bytes, int, float, bool, type(None))


class Scheduler(Protocol):
    """Runs the graph while a workflow's function is called. The head is one."""

    def submit(self, task: Any, inputs: Mapping[str, Any]) -> Any:
        """Add the node of a call. Returns its Promise."""

    def submit_all(self, task: Any, bound: Mapping[str, Any], lists: Mapping[str, Any]) -> Any:
        """Add a node for each element of `lists`; all have the inputs `bound`. Returns the list's Promise."""

    def value(self, promise: Promise) -> Any:
        """Wait for the value of a promise. When its task failed, raises what ends the workflow."""

    def after(self, first: Any, second: Any) -> None:
        """Start `second` only when `first` is done."""


_running: Scheduler | None = None


def running() -> Scheduler | None:
    """The scheduler of the workflow that runs in this process; None outside of a workflow."""
    return _running


def schedule(scheduler: Scheduler | None) -> None:
    """Set the scheduler of this process. The head sets it before it calls a workflow, a worker sets None."""
    global _running
    _running = scheduler


class Promise:
    """The result of a node, or a part of it: `promise[0]`, `promise.field`.

    Unpacking a tuple or NamedTuple does not wait. Any other iteration waits for the value.
    """

    def __init__(self, scheduler: Scheduler, node: Any, kind: Any = Any, path: tuple[Any, ...] = ()) -> None:
        self._scheduler = scheduler
        self._node = node
        self._kind = kind
        self._path = path

    def _part(self, step: Any, kind: Any = Any) -> Promise:
        return Promise(self._scheduler, self._node, kind, (*self._path, step))

    def __iter__(self) -> Iterator[Any]:
        kinds = _members(self._kind)
        if kinds is not None:
            return iter([self._part(at, kind) for at, kind in enumerate(kinds)])
        return iter(self._scheduler.value(self))

    def __len__(self) -> int:
        kinds = _members(self._kind)
        return len(kinds) if kinds is not None else len(self._scheduler.value(self))

    def __getitem__(self, key: Any) -> Promise:
        return self._part(key)

    def __getattr__(self, name: str) -> Promise:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._part(_Attribute(name))

    def __rshift__(self, other: Any) -> Any:
        self._scheduler.after(self, other)
        return other

    def __bool__(self) -> bool:
        raise TypeError(f"{self!r} has no value yet: test it inside of a task, not in the workflow")

    def __format__(self, spec: str) -> str:
        raise TypeError(f"{self!r} has no value yet: format texts inside of a task, not in the workflow")

    def __repr__(self) -> str:
        return f"<the promise of {self._node}>"


class _Attribute(str):
    """A step of a path that is an attribute. Any other step is an index or key."""

    __slots__ = ()


def _members(kind: Any) -> list[Any] | None:
    """The types of the members of a NamedTuple or of a tuple of known length; None for other types."""
    if isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields"):
        hints = getattr(kind, "__annotations__", {})
        return [hints.get(name, Any) for name in kind._fields]
    parts = get_args(kind)
    return list(parts) if get_origin(kind) is tuple and Ellipsis not in parts else None


def path_json(path: tuple[Any, ...]) -> list[Any]:
    """A path as JSON, to be stored."""
    return [{"attribute": str(step)} if isinstance(step, _Attribute) else step for step in path]


def part_name(step: Any) -> str:
    """One step of a path as text. An index, a key and an attribute of the same name give different texts."""
    return json.dumps(path_json((step,))[0])


def attribute(name: str) -> str:
    """The step of a path for the attribute `name`."""
    return _Attribute(name)


def path_of(stored: list[Any]) -> tuple[Any, ...]:
    """The path from the JSON of `path_json`."""
    return tuple(_Attribute(step["attribute"]) if isinstance(step, dict) else step for step in stored)


def take(value: Any, path: tuple[Any, ...]) -> Any:
    """The part of a value at a path."""
    for step in path:
        value = getattr(value, step) if isinstance(step, _Attribute) else value[step]
    return value


def nodes_in(value: Any) -> Iterator[Any]:
    """The nodes of all promises in a value, also those within lists, dicts, tuples, sets and dataclasses."""
    if isinstance(value, Promise):
        yield value._node
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from nodes_in(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from nodes_in(item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from nodes_in(getattr(value, field.name))


def resolve(value: Any, of: Callable[[Any], Any]) -> Any:
    """The value, with each promise in it replaced by its value. `of` gives the value of a node."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, Promise):
        return take(of(value._node), value._path)
    if next(nodes_in(value), None) is None:
        return value
    if isinstance(value, dict):
        return {key: resolve(item, of) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(resolve(item, of) for item in value))
    if isinstance(value, list | tuple | set | frozenset):
        return type(value)(resolve(item, of) for item in value)
    changes = {f.name: resolve(getattr(value, f.name), of) for f in dataclasses.fields(value) if f.init}
    return dataclasses.replace(value, **changes)
