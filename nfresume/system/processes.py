"""Find processes of this host by an environment variable or by their session, and stop them."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

#: How long a task may take to clean up after SIGTERM, before SIGKILL.
GRACE_SECONDS = 10.0
#: How long to wait for processes to be gone after SIGKILL.
KILL_SECONDS = 5.0


def flush_streams() -> None:
    """Flush the standard output and error of this process. A stream that was closed or removed is left."""
    for stream in (sys.stdout, sys.stderr):
        if stream is None or stream.closed:
            continue
        try:
            stream.flush()
        except OSError as e:
            if e.errno != errno.EBADF:  # its descriptor was closed
                raise


def finish() -> None:
    """Wait for the threads, pools of threads and child processes of this process, as Python does at its end.

    Daemons are left. Afterwards this process can start no more pools of threads. Flushes the streams.
    """
    threading._shutdown()  # type: ignore[attr-defined]  # as multiprocessing does
    if (module := sys.modules.get("multiprocessing.process")) is not None:
        for child in module.active_children():
            with contextlib.suppress(AssertionError):  # it was started by the process that forked this one
                if not child.daemon:
                    child.join()
    flush_streams()


def host() -> str:
    """This host's name, as the shim records it."""
    return os.uname().nodename


def boot_id() -> str:
    """The kernel's id of this boot. A process of another boot is certainly gone."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def sees_all() -> bool:
    """True when every process of this machine is visible here; False in most containers.

    The kernel's first namespace of process ids has a fixed number (linux/proc_ns.h).
    """
    try:
        return Path("/proc/self/ns/pid").readlink().name == "pid:[4026531836]"
    except OSError:
        return False


def start_ticks(pid: int) -> int | None:
    """When `pid` started, in clock ticks since boot. None: there is no such process, or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def is_alive(pid: int, ticks: int) -> bool:
    """True if the process with this pid and start time still runs. A reused pid has another start time.

    Also true for a process of another user that /proc hides (its option `hidepid`): nobody can tell.
    """
    found = start_ticks(pid)
    return found == ticks or (found is None and _is_of_others(os.kill, pid)
                              and not os.path.exists(f"/proc/{pid}"))


def has_others(group: int) -> bool:
    """True when a process group lives, and this user may signal none of it; /proc may hide such processes."""
    return _is_of_others(os.killpg, group)


def _is_of_others(send: Callable[[int, int], None], number: int) -> bool:
    try:
        send(number, 0)
    except PermissionError:
        return True
    except ProcessLookupError:
        pass
    return False


def signature() -> str:
    """Names this process for others: host, boot, process id and start time."""
    pid = os.getpid()
    return f"{host()}:{boot_id()}:{pid}:{start_ticks(pid)}"


def is_dead(signature: str) -> bool:
    """True when the process with this signature ran on this host and runs no more. Else it may be alive."""
    there, _, rest = signature.partition(":")
    boot, _, rest = rest.partition(":")
    pid, _, ticks = rest.partition(":")
    if there != host() or not (pid.isdecimal() and ticks.isdecimal()):
        return False
    return boot != boot_id() or not is_alive(int(pid), int(ticks))


def marked(name: str, matches: Callable[[str], bool]) -> list[psutil.Process]:
    """Live processes, other than this one, with an environment variable `name` whose value `matches`."""
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
    """Live processes of a session (setsid)."""
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
    """Send SIGTERM to the processes that `find` finds, wait `grace` seconds, then send SIGKILL.

    `find` is called again and again, so that processes started meanwhile are stopped too. `heartbeat` is
    called while waiting. Returns the processes that still live.
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
        send(process)  # psutil compares start times first, so a reused pid is never signalled
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return
