"""Promises: inside a workflow a call of a task returns a promise of its result. Promises make the graph."""

from __future__ import annotations

import builtins
import dataclasses
import json
import operator
import re
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NoReturn, Protocol, get_args, get_origin

from nfresume.tasks import shapes, source

_PLAIN = (str, bytes, int, float, bool, type(None))
_OUTPUT = re.compile(r"o[0-9]+")


class Scheduler(Protocol):
    """Runs the graph while a workflow's function is called. The head is one."""

    def submit(self, task: Any, inputs: Mapping[str, Any]) -> Any:
        """Add the node of a call. Returns its Promise."""

    def submit_all(self, mapped: Any, lists: Mapping[str, Any]) -> Any:
        """Add the node of a MapTask that is called with `lists`. Returns the Promise of its list."""

    def constant(self, name: str, value: Any) -> Any:
        """The Promise of a value that is known, such as that of an input of the workflow."""

    def value(self, promise: Promise) -> Any:
        """Wait for the value of a promise. When its task failed, raises what ends the workflow."""

    def submit_dynamic(self, flow: Any, inputs: Mapping[str, Any]) -> Any:
        """Add a node that calls the function of a Dynamic when its inputs are known. Returns its Promise."""

    def nested(self, workflow: Any, inputs: Mapping[str, Any]) -> AbstractContextManager[Any]:
        """Until its end, calls belong to this call of a workflow: if one fails, its on_failure is called."""

    def returned(self, call: Any, value: Any) -> Any:
        """The result of a nested workflow, from what its function returned. `call` is what `nested` gave."""

    def after(self, first: Any, second: Any) -> None:
        """Start `second` only when `first` is done."""

    def override(self, promise: Promise, options: Mapping[str, Any]) -> None:
        """Change options of a call that has not started, such as its resources."""

    def section(self, name: str) -> Any:
        """Add the node of a conditional section. Returns it."""

    def branch(self, section: Any) -> Any:
        """Add a branch: calls that follow run only when it is taken. Returns it."""

    def end_branch(self) -> None:
        """End the branch: calls that follow run in any case."""

    def choose(self, section: Any, cases: list[tuple[Any, Any, Any]]) -> Any:
        """The Promise of a section's result, from condition, branch and value of each case, in order."""


_running: Scheduler | None = None
_scheduled = False  # a workflow or task is being executed by this process
_loading = False
_print = builtins.print


def running() -> Scheduler | None:
    """The scheduler of the workflow that runs in this process; None outside of a workflow."""
    return _running


def schedule(scheduler: Scheduler | None) -> None:
    """Set the scheduler of this process. The head sets it before it calls a workflow. A worker sets None."""
    global _running, _scheduled
    _running, _scheduled = scheduler, True
    builtins.print = _print if scheduler is None else _print_promises


def _print_promises(*values: Any, **options: Any) -> None:
    """Print as ever; a promise is shown as what it stands for. As a text it would be an error."""
    shown = [repr(value) if isinstance(value, Promise | Expression) else value for value in values]
    _print(*shown, **options)


def loading(what: bool) -> None:
    """Say whether the workflow's file is being loaded."""
    global _loading
    _loading = what


def executing() -> bool:
    """True while a workflow or task is executed, and not when its file is loaded for that."""
    return _scheduled and not _loading


_left_out = False


def leave_out(what: bool) -> None:
    """Outside of a workflow: let calls of tasks do nothing, until this is undone."""
    global _left_out
    _left_out = what


def left_out() -> bool:
    """True while calls of tasks do nothing, in a branch that is not taken."""
    return _left_out


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

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait for the value, in an eager workflow."""
        return self._scheduler.value(self)
        yield  # makes it a generator, as `await` needs one

    def __len__(self) -> int:
        kinds = _members(self._kind)
        return len(kinds) if kinds is not None else len(self._scheduler.value(self))

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError(f"{self!r} is inside of an object: pass it as an input of its own")

    def __getitem__(self, key: Any) -> Promise:
        return self._part(key)

    def __getattr__(self, name: str) -> Promise:
        if name.startswith("_"):
            raise AttributeError(name)
        if _OUTPUT.fullmatch(name) and not _has_field(self._kind, name):
            return self._output(int(name[1:]))
        return self._part(_Attribute(name))

    def _output(self, at: int) -> Promise:
        """Flyte's `.o0`, `.o1`: an output of a task that has several, or its only one."""
        kinds = _members(self._kind)
        if kinds is not None and at < len(kinds):
            return self._part(at, kinds[at])
        if kinds is not None or at:
            refuse(f"{self!r} has no output o{at}")
        return self

    def with_overrides(self, **options: Any) -> Promise:
        """Change options of the call: those of `options.OVERRIDABLE`. Others have no effect."""
        self._scheduler.override(self, options)
        return self

    def __rshift__(self, other: Any) -> Any:
        self._scheduler.after(self, other)
        return other

    def __rrshift__(self, other: Any) -> Any:
        """After a nested workflow that returned a tuple or list."""
        self._scheduler.after(other, self)
        return self

    def runs_before(self, other: Any) -> None:
        """Flyte's older way to write `self >> other`."""
        self._scheduler.after(self, other)

    def is_true(self) -> Expression:
        """The condition that the value is true, for a conditional section."""
        return Expression((self,), bool, f"{self!r}.is_true()")

    def is_false(self) -> Expression:
        """The condition that the value is false."""
        return Expression((self,), operator.not_, f"{self!r}.is_false()")

    def is_(self, value: bool) -> Expression:
        """The condition that the value is true, or false."""
        return self.is_true() if value else self.is_false()

    def is_none(self) -> Expression:
        """The condition that the value is None."""
        return Expression((self,), lambda value: value is None, f"{self!r}.is_none()")

    def __eq__(self, other: object) -> Expression:  # type: ignore[override]
        return _compared(operator.eq, "==", self, other)

    def __ne__(self, other: object) -> Expression:  # type: ignore[override]
        return _compared(operator.ne, "!=", self, other)

    def __lt__(self, other: object) -> Expression:
        return _compared(operator.lt, "<", self, other)

    def __le__(self, other: object) -> Expression:
        return _compared(operator.le, "<=", self, other)

    def __gt__(self, other: object) -> Expression:
        return _compared(operator.gt, ">", self, other)

    def __ge__(self, other: object) -> Expression:
        return _compared(operator.ge, ">=", self, other)

    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        refuse(f"{self!r} has no value yet: test it inside of a task, or with create_conditional_section")

    def __contains__(self, item: object) -> bool:
        refuse(f"{self!r} has no value yet: look into it inside of a task")

    def __format__(self, spec: str) -> str:
        refuse(f"{self!r} has no value yet: make texts of it inside of a task")

    def __str__(self) -> str:
        refuse(f"{self!r} has no value yet: make texts of it inside of a task")

    def __call__(self, *_: object, **_more: object) -> Any:
        refuse(f"{self!r} has no value yet: call its methods inside of a task")

    def __fspath__(self) -> str:
        refuse(f"{self!r} has no value yet: use it as a path inside of a task")

    def __setitem__(self, key: Any, value: Any) -> None:
        refuse(f"{self!r} has no value yet: change it inside of a task")

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_"):
            refuse(f"{self!r} has no value yet: change it inside of a task")
        super().__setattr__(name, value)

    def _compute(self, *_: object) -> Any:
        refuse(f"{self!r} has no value yet: compute with it inside of a task")

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _compute
    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = __neg__ = __abs__ = _compute
    __int__ = __float__ = __index__ = __round__ = __and__ = __or__ = __invert__ = _compute

    def __repr__(self) -> str:
        return f"<the promise of {self._node}>"


class Expression:
    """A condition on promises. Only a conditional section can use it: it has no truth value before that."""

    def __init__(self, operands: tuple[Any, ...], compute: Callable[..., Any], text: str) -> None:
        self.operands = operands
        self._compute = compute
        self._text = text

    def value(self, of: Callable[[Any], Any]) -> bool:
        """Whether it is true. `of` gives the value of a node."""
        known = [each.value(of) if isinstance(each, Expression) else resolve(each, of)
                 for each in self.operands]
        return bool(self._compute(*known))

    def __and__(self, other: object) -> Expression:
        return Expression((self, other), operator.and_, f"({self._text} & {other!r})")

    def __or__(self, other: object) -> Expression:
        return Expression((self, other), operator.or_, f"({self._text} | {other!r})")

    def __invert__(self) -> Expression:
        return Expression((self,), operator.not_, f"~{self._text}")

    __rand__, __ror__ = __and__, __or__

    def __bool__(self) -> bool:
        refuse(f"{self._text} has no value yet: test it inside of a task, or with create_conditional_section "
                "(and `&` and `|` instead of `and` and `or`)")

    def __repr__(self) -> str:
        return self._text


def _compared(compute: Callable[[Any, Any], Any], sign: str, one: Any, other: Any) -> Expression:
    return Expression((one, other), compute, f"{one!r} {sign} {other!r}")


def refuse(text: str) -> NoReturn:
    """Raise TypeError for the line of the workflow that is being executed."""
    ours = str(Path(__file__).parent)
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(ours):
        frame = frame.f_back
    raise TypeError(f"line {frame.f_lineno} of {Path(frame.f_code.co_filename).name}: {text}")


class _Attribute(str):
    """A step of a path that is an attribute. Any other step is an index or key."""

    __slots__ = ()


def _members(kind: Any) -> list[Any] | None:
    """The types of the members of a NamedTuple or of a tuple of known length; None for other types.

    `-> (LatchFile, int)` is an old spelling of a tuple.
    """
    if shapes.is_named_tuple(kind):
        hints = source.hints_of(kind)
        return [hints.get(name, Any) for name in kind._fields]
    if isinstance(kind, tuple):
        return list(kind)
    parts = get_args(kind)
    return list(parts) if get_origin(kind) is tuple and Ellipsis not in parts else None


def _has_field(kind: Any, name: str) -> bool:
    return name in getattr(kind, "_fields", ()) or name in getattr(kind, "__dataclass_fields__", ())


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
    elif isinstance(value, Expression):
        yield from nodes_in(value.operands)
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
