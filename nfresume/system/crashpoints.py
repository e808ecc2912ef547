"""Named points at which a test can kill or stop this process, one between any two durable states."""

from __future__ import annotations

import os
import signal
import threading

#: NAME: die at that point. NAME:STOP: stop at that point, once, until SIGCONT.
ENV = "NFRESUME_CRASH_AT"


def reach(name: str) -> None:
    """If a test asked for it: die here by SIGKILL, or stop here by SIGSTOP."""
    point, _, how = os.environ.get(ENV, "").partition(":")
    if point != name:
        return
    if how == "STOP":
        del os.environ[ENV]
        # To this very thread: sent to the process, it would stop when another thread takes the signal.
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
    else:
        os.kill(os.getpid(), signal.SIGKILL)
