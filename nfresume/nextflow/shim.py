"""The shim runs the head and writes its exit status: `python -I -S shim.py DIR PROGRAM ARGS...`.

It has a session of its own, so that neither a closed terminal nor the death of a supervisor ends the head.
Before the start it writes DIR/head.json; if that file exists, it starts nothing. After the end it writes
DIR/exit_status.json durably, into space that was allocated before, so that a full disk does not lose it. It
imports only a few modules of the standard library: it must start in milliseconds and stay small for weeks.
"""

import json
import os
import signal
import sys
import time

_ROOM = 256


def _reserve(folder: str, name: str) -> int:
    """Create a temporary file that already has space for one line; returns its descriptor."""
    fd = os.open(os.path.join(folder, f".{name}.tmp"), os.O_WRONLY | os.O_CREAT, 0o644)
    os.pwrite(fd, b" " * _ROOM, 0)
    return fd


def _begin(folder: str, name: str, value: dict[str, object]) -> bool:
    """Write the record of the head; False when there is one already: another head, or starts are forbidden.

    There is no fsync: a power cut that loses the record has ended the head, too.
    """
    fd = _reserve(folder, name)
    os.pwrite(fd, _line(value), 0)
    os.close(fd)
    temporary = os.path.join(folder, f".{name}.tmp")
    try:
        os.link(temporary, os.path.join(folder, name))
    except FileExistsError:
        return False
    finally:
        os.unlink(temporary)
    return True


def _finish(folder: str, name: str, value: dict[str, object], fd: int) -> None:
    """Write the exit status, durably."""
    os.pwrite(fd, _line(value), 0)
    os.fsync(fd)
    os.close(fd)
    os.rename(os.path.join(folder, f".{name}.tmp"), os.path.join(folder, name))
    folder_fd = os.open(folder, os.O_RDONLY)
    try:  # noqa: SIM105 (contextlib would have to be imported)
        os.fsync(folder_fd)
    except OSError:  # some file systems cannot do that for folders
        pass
    os.close(folder_fd)


def _line(value: dict[str, object]) -> bytes:
    return json.dumps(value).encode().ljust(_ROOM - 1) + b"\n"


def _start_ticks(pid: int) -> int:
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[19])


def _boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def main() -> None:
    folder, program, *args = sys.argv[1:]
    # A shell's `&` makes its child ignore SIGINT. Nextflow would inherit that and not stop on SIGINT.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # neither does it inherit that a signal is blocked
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(write_end)
        if not os.read(read_end, 1):  # the shim wrote no record, or has died
            os._exit(1)
        os.close(read_end)
        try:
            os.execv(program, [program, *args])
        except OSError as e:
            os.write(2, f"cannot run {program}: {e.strerror}\n".encode())
            os._exit(127)
    os.close(read_end)
    # The shim ignores signals to its whole session, so that it can still write the exit status.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    head = {"pid": pid, "start_ticks": _start_ticks(pid), "shim": os.getpid(), "boot_id": _boot_id(),
            "host": os.uname().nodename, "started_at": time.time()}
    if not _begin(folder, "head.json", head):
        return
    os.write(write_end, b"x")
    os.close(write_end)
    exit_status = _reserve(folder, "exit_status.json")
    os.fsync(exit_status)  # allocates its block now, while there is space
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    result: dict[str, object] = {"exit_code": code, "ended_at": time.time()}
    _finish(folder, "exit_status.json", result, exit_status)


main()
