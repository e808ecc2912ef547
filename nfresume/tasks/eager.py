"""flytekit's eager workflows: `async` functions that await calls of tasks, and may look at their values."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any

from nfresume.tasks import options, promises
from nfresume.tasks.declaring import Dynamic, Workflow


class Eager(Workflow):
    """A workflow whose function is called when the values of its inputs are known, as that of a Dynamic."""

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        if promises.running() is None:
            return self.function(*args, **kwargs)

        @functools.wraps(self.function)
        def run(**inputs: Any) -> Any:
            return _finished(self.function(**inputs))

        return Dynamic(run)(*args, **kwargs)


def _finished(coroutine: Any) -> Any:
    """The result of a coroutine. It may be asked for while another one runs: an eager workflow in another."""
    outer = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    try:
        return asyncio.run(coroutine)
    finally:
        asyncio._set_running_loop(outer)


def eager(function: Callable[..., Any] | None = None, **more: Any) -> Any:
    """Declare an eager workflow: `@eager`. `await` waits for the value of a call; calls run side by side."""

    def declare(declared: Callable[..., Any]) -> Eager:
        options.note_unused(declared.__name__, more)
        return Eager(declared)

    return declare if function is None else declare(function)
