"""Runs Nextflow's head and outlives every supervisor: `python -I -S shim.py DIR PROGRAM ARGS...`.

Started in a session of its own, so that no terminal and no supervisor's death reaches the head.
Writes DIR/head.json before, and DIR/exit_status.json (durably) after. Standard library only, and few
modules of it: it must start in milliseconds and stay small for weeks.
"""

import json
import os
import signal
import sys
import time


def _write(folder: str, name: str, value: dict[str, object]) -> None:
    temporary = os.path.join(folder, f".{name}.tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.write(fd, json.dumps(value).encode() + b"\n")
    os.fsync(fd)
    os.close(fd)
    os.rename(temporary, os.path.join(folder, name))
    folder_fd = os.open(folder, os.O_RDONLY)
    os.fsync(folder_fd)
    os.close(folder_fd)


def _start_ticks(pid: int) -> int:
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[19])


def _boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def main() -> None:
    folder, program, *args = sys.argv[1:]
    # A shell's `&` leaves SIGINT ignored; Nextflow would inherit that and never stop on Ctrl-C.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(write_end)
        os.read(read_end, 1)  # wait until head.json is there: no head without a record
        os.close(read_end)
        try:
            os.execv(program, [program, *args])
        except OSError as e:
            os.write(2, f"cannot run {program}: {e.strerror}\n".encode())
            os._exit(127)
    os.close(read_end)
    # The shim survives the signals that end its session's head; only SIGKILL takes both.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    head = {"pid": pid, "start_ticks": _start_ticks(pid), "shim": os.getpid(), "boot_id": _boot_id(),
            "host": os.uname().nodename, "started_at": time.time()}
    _write(folder, "head.json", head)
    os.write(write_end, b"x")
    os.close(write_end)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    _write(folder, "exit_status.json", {"exit_code": code, "ended_at": time.time()})


main()
