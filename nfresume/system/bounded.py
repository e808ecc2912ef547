"""Calls into what may hang: a library that asks the network, a channel that never answers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def call(seconds: float, function: Callable[[], Result]) -> Result:
    """The result of `function`, or its exception; raises TimeoutError when it takes longer.

    It runs in a daemon thread, which a call that hangs for good leaves behind until the process ends.
    """
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(function())
        except BaseException as e:
            errors.append(e)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"no answer within {seconds:g} s")
    if errors:
        raise errors[0]
    return results[0]
