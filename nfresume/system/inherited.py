"""What a process got from whoever started it, and would suffer from or pass on.

At its start this imports nothing but `os` and `sys`, as modules may still be looked for in the wrong folders.
"""

from __future__ import annotations

import os
import sys

#: What Python may set LC_CTYPE to.
_COERCED = ("C.UTF-8", "C.utf8", "UTF-8")


def put_right() -> None:
    """Called first in a process: find our own modules, block no signal, and learn how children end."""
    theirs = [os.path.abspath(each) for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]
    sys.path.sort(key=lambda each: each in theirs)  # module systems put other versions of our libraries there
    import signal

    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # if it is ignored, the kernel drops all exit statuses


def environment() -> dict[str, str]:
    """The environment that this process was given. Without a locale Python adds LC_CTYPE (PEP 538)."""
    given = dict(os.environ)
    if given.get("LC_CTYPE") in _COERCED and not _had("LC_CTYPE"):
        del given["LC_CTYPE"]
    return given


def _had(name: str) -> bool:
    """True if this program was started with a variable: the kernel shows the environment of that moment."""
    try:
        with open("/proc/self/environ", "rb") as file:
            return f"\0{name}=".encode() in b"\0" + file.read()
    except OSError:
        return True
