"""Signals that end a command that follows a run: they end the run, as they would end `nextflow run`."""

from __future__ import annotations

import signal
from types import FrameType


class Ended(BaseException):
    """SIGTERM or SIGHUP arrived. Not an Exception, so that nothing takes it for an error."""


class Signals:
    """Notes SIGTERM and SIGHUP from its creation on; `raise_now` makes them raise Ended.

    A signal that the caller ignores, such as SIGHUP under `nohup`, stays ignored.
    """

    def __init__(self) -> None:
        self._arrived = False
        self._raising = False
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._arrive)
        # A shell starts `command &` in a script with SIGINT ignored; SIGINT must still cancel.
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def raise_now(self) -> None:
        """From now on a signal raises Ended; so does this call when one has arrived before."""
        self._raising = True
        if self._arrived:
            raise Ended

    def note_only(self) -> None:
        """From now on SIGTERM and SIGHUP raise nothing: the run is being cancelled anyway."""
        self._raising = False

    def release(self) -> None:
        """Let further signals end this process at once: the run is being cancelled anyway."""
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) == self._arrive:
                signal.signal(number, signal.SIG_DFL)

    def _arrive(self, _number: int, _frame: FrameType | None) -> None:
        self._arrived = True
        if self._raising:
            raise Ended
