"""Signals that end a command that follows a run: they end the run, as they would end `nextflow run`."""

from __future__ import annotations

import contextlib
import os
import signal
from types import FrameType


class Signals:
    """Counts SIGINT, SIGTERM and SIGHUP from its creation on. No handler raises anything.

    Until `hold` was called nothing is stored, so a signal ends this process at once. From then on signals are
    only counted, and whoever follows the run looks at the count: at the first one it cancels the run, at the
    second one it does not wait for the end of the run. `wake` is a descriptor that becomes readable with each
    signal, so that no wait has to end first.

    A signal that the caller ignores, such as SIGHUP under `nohup`, stays ignored, but for SIGINT: a shell
    starts `command &` in a script with SIGINT ignored, and it must still cancel. With `detached` SIGHUP has
    no effect, as the run goes on without its terminal.
    """

    def __init__(self, *, detached: bool = False) -> None:
        self.count = 0
        self.last = 0
        self.wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._holding = False
        self._mine = [n for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
                      if n == signal.SIGINT or signal.getsignal(n) is not signal.SIG_IGN]
        for number in self._mine:
            # A handler that does nothing, and not SIG_IGN, which the supervisor would inherit.
            nothing = detached and number == signal.SIGHUP
            signal.signal(number, _nothing if nothing else self._arrive)

    def hold(self) -> None:
        """The run is about to be stored: from now on signals are counted, and must lead to its cancel."""
        self._holding = True

    def release(self) -> None:
        """The run has ended, or is being cancelled: from now on a signal ends this process at once."""
        for number in self._mine:
            signal.signal(number, signal.SIG_DFL)

    @property
    def exit_code(self) -> int:
        """What a shell reports for a command that the last signal ended: 128 + its number."""
        return 128 + self.last

    def _arrive(self, number: int, _frame: FrameType | None) -> None:
        self.last = number
        if not self._holding:
            with contextlib.suppress(OSError):  # nobody may be there to read it
                os.write(2, b"nfresume: aborted, nothing was started\n")
            os._exit(self.exit_code)
        self.count += 1
        os.eventfd_write(self.wake, 1)


def _nothing(_number: int, _frame: FrameType | None) -> None:
    pass
