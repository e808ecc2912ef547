"""Named points at which a test can kill this process, or stop it: each boundary between durable states."""

from __future__ import annotations

import os
import signal

#: NAME: die there; NAME:STOP: sleep there, once, until somebody sends SIGCONT.
ENV = "NFRESUME_CRASH_AT"


def reach(name: str) -> None:
    """Die here, without any clean-up, or sleep, if a test asked for it."""
    point, _, how = os.environ.get(ENV, "").partition(":")
    if point != name:
        return
    if how == "STOP":
        del os.environ[ENV]
        os.kill(os.getpid(), signal.SIGSTOP)
    else:
        os.kill(os.getpid(), signal.SIGKILL)
