"""SIGTERM and SIGINT as a request to pause: what is under way ends in a state that goes on later."""

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
    """`event` is set once a signal asked for a pause; `signal` is its number, 0 before."""

    event: threading.Event = field(default_factory=threading.Event)
    signal: int = 0

    @property
    def exit_code(self) -> int:
        """What a shell reports for a command that this signal ended."""
        return 128 + self.signal


@contextmanager
def pausable() -> Iterator[Pause]:
    """Within this block the signals only ask for a pause; a second one ends the process. Main thread only."""
    pause = Pause()

    def ask(number: int, _frame: FrameType | None) -> None:
        pause.signal = number
        pause.event.set()
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_DFL)

    before = [signal.signal(each, ask) for each in _SIGNALS]
    try:
        yield pause
    finally:
        for each, handler in zip(_SIGNALS, before, strict=True):
            signal.signal(each, handler)
