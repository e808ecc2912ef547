"""Tell systemd that this service is ready, alive or stopping: sd_notify(3), a datagram to a socket.

Ten lines of our own: `sdnotify` on PyPI has had no release since 2017, `systemd-python` needs a C library.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
from dataclasses import dataclass

#: What systemd tells a service of itself: systemd.exec(5).
_OF_THE_SERVICE = re.compile(
    r"NOTIFY_SOCKET|WATCHDOG_\w+|LISTEN_(FDS|PID|FDNAMES)|MAINPID|INVOCATION_ID|JOURNAL_STREAM|SYSTEMD_EXEC_PID|"
    r"MEMORY_PRESSURE_\w+|(RUNTIME|STATE|CACHE|LOGS|CONFIGURATION|CREDENTIALS)_DIRECTORY")


@dataclass(frozen=True)
class Systemd:
    """The systemd that has started this service; without one nothing is sent.

    `watchdog_seconds`: how often it wants to hear `WATCHDOG=1`, half of its limit. None: it does not.
    """

    address: str = ""
    watchdog_seconds: float | None = None

    def notify(self, state: str) -> None:
        """Send a state such as `READY=1`, if anybody listens."""
        path = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
        if path:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, kind) as sender:
                sender.sendto(state.encode(), path)


def take() -> Systemd:
    """Take what systemd says to this service out of the environment, so that no run of it hears that.

    A container that podman starts, for example, is held until it says READY where there is a NOTIFY_SOCKET.
    """
    said = {name: os.environ.pop(name) for name in list(os.environ) if _OF_THE_SERVICE.fullmatch(name)}
    usec, pid = said.get("WATCHDOG_USEC", ""), said.get("WATCHDOG_PID", "")
    watched = usec.isdecimal() and pid in ("", str(os.getpid()))
    return Systemd(said.get("NOTIFY_SOCKET", ""), int(usec) / 2e6 if watched else None)
