"""Processes on this host: found by a mark in their environment or by their session, and stopped."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

#: After SIGTERM, how long a task may take to clean up before SIGKILL.
GRACE_SECONDS = 10.0
KILL_SECONDS = 5.0


def host() -> str:
    """This host's name, as shims record it."""
    return os.uname().nodename


def boot_id() -> str:
    """Changes with every boot: processes of another boot are gone for certain."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_ticks(pid: int) -> int | None:
    """When `pid` started, in clock ticks since boot; None if there is no such live process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def is_alive(pid: int, ticks: int) -> bool:
    """True if this very process still runs: a reused pid has another start time."""
    return start_ticks(pid) == ticks


def marked(name: str, matches: Callable[[str], bool]) -> list[psutil.Process]:
    """Live processes whose environment has `name` with a value that `matches`, but not ourselves."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            value = process.environ().get(name)
        except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
            continue
        if value is not None and matches(value):
            found.append(process)
    return found


def in_session(session: int) -> list[psutil.Process]:
    """Live processes of a session."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, ProcessLookupError, PermissionError):
            continue
    return found


def stop(
    find: Callable[[], Iterable[psutil.Process]],
    grace: float = GRACE_SECONDS,
    heartbeat: Callable[[], None] = lambda: None,
) -> list[psutil.Process]:
    """TERM what `find` finds, wait, KILL; returns what still lives. `heartbeat` is called while waiting.

    `find` is asked anew each time, so that children started meanwhile are caught too.
    """
    for send, seconds in ((psutil.Process.terminate, grace), (psutil.Process.kill, KILL_SECONDS)):
        end = time.monotonic() + seconds
        signalled: set[int] = set()
        while remaining := list(find()):
            for process in remaining:
                if process.pid not in signalled:
                    signalled.add(process.pid)
                    _send(send, process)
            if time.monotonic() > end:
                break
            heartbeat()
            time.sleep(0.05)
        else:
            return []
    return list(find())


def _send(send: Callable[[psutil.Process], None], process: psutil.Process) -> None:
    try:
        send(process)  # psutil compares start times first: a reused pid is never signalled
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return
