"""flytekit's eager workflows: `async` functions that use the values of the calls they make.

`await` waits for a value, and so does any use of it that another workflow could not make, such as `if`. Calls
that are not waited for run side by side, and so do coroutines that `asyncio.gather` awaits.
"""

from __future__ import annotations

import asyncio
import functools
import operator
import os
from collections.abc import Callable, Generator
from typing import Any

from nfresume.tasks import options, promises
from nfresume.tasks.declaring import Dynamic, Workflow
from nfresume.tasks.promises import Promise

_BINARY = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "eq", "ne", "lt", "le", "gt", "ge",
           "contains")
_REFLECTED = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow")
_UNARY: dict[str, Callable[[Any], Any]] = {
    "bool": bool, "str": str, "int": int, "float": float, "index": operator.index, "neg": operator.neg,
    "abs": abs, "fspath": os.fspath, "round": round}


class Value(Promise):
    """A promise that an eager function may use as a value: that waits for it."""

    def __await__(self) -> Generator[Any, None, Any]:
        waiting = promises.running()
        if isinstance(waiting, _Waiting):
            yield from waiting.until_ended(self._node).__await__()
        return self._scheduler.value(self)

    def _part(self, step: Any, kind: Any = Any) -> Promise:
        return Value(self._scheduler, self._node, kind, (*self._path, step))

    def __format__(self, spec: str) -> str:
        return format(_known(self), spec)

    def __call__(self, *values: Any, **fields: Any) -> Any:
        return _known(self)(*values, **fields)

    __hash__ = Promise.__hash__


def _known(value: Any) -> Any:
    return value._scheduler.value(value) if isinstance(value, Promise) else value


def _operators() -> None:
    for name in _BINARY:
        compute = getattr(operator, name)
        setattr(Value, f"__{name}__", lambda self, other, f=compute: f(_known(self), _known(other)))
        if name in _REFLECTED:
            setattr(Value, f"__r{name}__", lambda self, other, f=compute: f(_known(other), _known(self)))
    for name, convert in _UNARY.items():
        setattr(Value, f"__{name}__", lambda self, f=convert: f(_known(self)))


_operators()


class _Waiting:
    """The scheduler, with promises that wait when they are used, within an event loop.

    While coroutines wait, the head goes on in turns: whenever something has happened to it.
    """

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        self._changed = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._seen = -1  # how many calls had ended when coroutines were woken last

    def value(self, promise: Promise) -> Any:
        """Wait for a value while nothing else goes on in the loop."""
        try:
            return self._scheduler.value(promise)
        finally:
            if not self._loop.is_closed():
                self._loop.call_soon(self._turn)  # meanwhile others may have ended

    async def run(self, function: Callable[..., Any], inputs: dict[str, Any]) -> Any:
        """The result of an eager function."""
        self._loop = asyncio.get_running_loop()
        self._main = asyncio.ensure_future(function(**inputs))
        self._problem: BaseException | None = None
        self._loop.add_reader(self._scheduler.fileno(), self._turn)
        try:
            return await self._main
        except asyncio.CancelledError:
            raise self._problem or asyncio.CancelledError from None

    async def until_ended(self, node: Any) -> None:
        """Wait until a call has ended, and let others go on meanwhile."""
        self._loop.call_soon(self._turn)
        while not node.state.ended:
            await self._changed.wait()

    def _turn(self) -> None:
        """Let the head go on as far as it can without waiting."""
        head = self._scheduler
        try:
            head.step(wait=False)
        except BaseException as e:  # the loop would only log it
            self._problem = e
            self._main.cancel()
            return
        if head.ended != self._seen:
            self._seen = head.ended
            self._changed.set()
            self._changed = asyncio.Event()
            self._loop.call_soon(self._turn)  # what has ended makes room for others
        if self._timer is not None:
            self._timer.cancel()
        seconds = head.wait_seconds()
        self._timer = None if seconds is None else self._loop.call_later(seconds, self._turn)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._scheduler, name)
        if name not in ("submit", "submit_all", "submit_dynamic", "choose", "constant"):
            return found

        def call(*given: Any) -> Any:
            made = found(*given)
            self._loop.call_soon(self._turn)
            if type(made) is not Promise:
                return made
            return Value(self, made._node, made._kind, made._path)

        return call


class _Run(Dynamic):
    """A call of an eager workflow: it may catch that a call of its own has failed."""

    catches = True


class Eager(Workflow):
    """A workflow whose function is called when the values of its inputs are known, as that of a Dynamic."""

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        if promises.running() is None:
            return self.function(*args, **kwargs)

        @functools.wraps(self.function)
        def run(**inputs: Any) -> Any:
            return _finished(self.function, inputs)

        return _Run(run)(*args, **kwargs)


def _finished(function: Callable[..., Any], inputs: dict[str, Any]) -> Any:
    """The result of an eager function. It may be called while another one waits."""
    outer, scheduler = asyncio._get_running_loop(), promises.running()
    asyncio._set_running_loop(None)  # it stands still meanwhile, so another loop may run
    waiting = _Waiting(scheduler)
    promises.schedule(waiting)
    try:
        return asyncio.run(waiting.run(function, inputs))
    finally:
        promises.schedule(scheduler)
        asyncio._set_running_loop(outer)


def eager(function: Callable[..., Any] | None = None, **more: Any) -> Any:
    """Declare an eager workflow: `@eager`."""

    def declare(declared: Callable[..., Any]) -> Eager:
        options.note_unused(declared.__name__, more)
        return Eager(declared)

    return declare if function is None else declare(function)
