"""Tell systemd that this service is ready, alive or stopping: sd_notify(3), a datagram to a socket.

Ten lines of our own: `sdnotify` on PyPI has had no release since 2017, `systemd-python` needs a C library.
"""

from __future__ import annotations

import contextlib
import os
import socket


def notify(state: str) -> bool:
    """Send a state such as `READY=1`. False without systemd, or if it does not listen."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    path = "\0" + address[1:] if address.startswith("@") else address
    kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, kind) as sender:
        sender.sendto(state.encode(), path)
        return True
    return False


def watchdog_seconds() -> float | None:
    """How often systemd wants to hear `WATCHDOG=1`: half of its limit. None: it has none for this process."""
    usec, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not usec.isdecimal() or (pid and pid != str(os.getpid())):
        return None
    return int(usec) / 2e6
