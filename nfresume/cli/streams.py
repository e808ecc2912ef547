"""Standard output and standard error of a command that follows a run."""

from __future__ import annotations

import io
import os
import select
import sys
import time

#: A pipe that is ready takes so much without blocking.
_AT_ONCE = select.PIPE_BUF
#: Seconds to wait for a reader that takes nothing, once the run is being cancelled.
_IMPATIENT = 0.5


class Stream:
    """Passes bytes on to a descriptor. A signal interrupts the wait for a reader that takes nothing.

    Once a write has failed, because the reader has gone or the disk is full, nothing is written any more: as
    with `nextflow run`, that does not end the run.
    """

    def __init__(self, fd: int, wake: int = -1) -> None:
        self._fd = fd
        self._wake = wake
        self._rest = memoryview(b"")
        self._failed = False

    def write(self, data: bytes, *, patient: bool) -> None:
        """Write what is left of before, and `data`.

        If `patient`, it ends early only when `wake` is readable; otherwise when nothing can be written for
        half a second. What could not be written is kept for the next call.
        """
        self._rest = memoryview(bytes(self._rest) + data if self._rest else data)
        while self._rest and not self._failed and self._ready(patient):
            try:
                self._rest = self._rest[os.write(self._fd, self._rest[:_AT_ONCE]):]
            except BlockingIOError:  # the descriptor is non-blocking, and not ready after all
                time.sleep(0.01)
            except OSError:
                self._failed = True

    def _ready(self, patient: bool) -> bool:
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        if patient and self._wake >= 0:
            poll.register(self._wake, select.POLLIN)
        ready = {fd for fd, _ in poll.poll(None if patient else _IMPATIENT * 1000)}
        return self._fd in ready and self._wake not in ready


def prepare() -> None:
    """Open /dev/null where a standard stream is closed: otherwise another file would get its number.

    What the encoding of standard output cannot express is printed as an escape.
    """
    for fd, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
            setattr(sys, name, os.fdopen(fd, mode, closefd=False))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
