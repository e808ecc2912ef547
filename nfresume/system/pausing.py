"""SIGTERM and SIGINT as a request to pause. The work stops in a state from which it can continue later."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass
class Pause:
    """`event` is set when a signal has asked for a pause. `signal` is that signal's number, 0 before."""

    event: threading.Event = field(default_factory=threading.Event)
    signal: int = 0

    @property
    def exit_code(self) -> int:
        """The exit code that a shell reports for a command that this signal ended: 128 + its number."""
        return 128 + self.signal


@contextmanager
def pausable(event: threading.Event | None = None) -> Iterator[Pause]:
    """In this block the first signal asks for a pause, and a second one ends the process.

    It sets `event`, if that is given.
    The previous handlers are restored at the end of the block. In another thread than the main one, as in a
    server, no signal can be taken, and nothing asks for a pause.
    """
    pause = Pause(event or threading.Event())
    if threading.current_thread() is not threading.main_thread():
        yield pause
        return

    def ask(number: int, _frame: FrameType | None) -> None:
        pause.signal = number
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        pause.event.set()

    before = [signal.signal(each, ask) for each in _SIGNALS]
    try:
        yield pause
    finally:
        for each, handler in zip(_SIGNALS, before, strict=True):
            signal.signal(each, handler)
