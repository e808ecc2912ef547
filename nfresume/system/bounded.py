"""Calls with a timeout, for libraries that may hang on the network."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def call(seconds: float, function: Callable[[], Result]) -> Result:
    """Call `function` and return its result, or raise what it raises. TimeoutError: it takes too long.

    It runs in a daemon thread. A call that never returns leaves its thread behind until the process ends.
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
