"""The head of an attempt, and all processes that an execution has started on this host."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import psutil

from nfresume.nextflow.command import HEAD, MARK, marks
from nfresume.system import durable, processes, regular


@dataclass(frozen=True)
class Head:
    """The head's process as the shim recorded it. `start_ticks`: its start time in clock ticks since boot."""

    pid: int
    start_ticks: int
    shim: int
    boot_id: str

    @property
    def alive(self) -> bool:
        """True while this process runs on this host and boot; a reused pid has another start time."""
        return self.boot_id == processes.boot_id() and processes.is_alive(self.pid, self.start_ticks)

    def terminate(self) -> None:
        """Send SIGTERM to the head alone; the head then ends its tasks and grid jobs."""
        if self.alive:
            os.kill(self.pid, signal.SIGTERM)


def read(attempt_dir: Path) -> Head | None:
    """The head of an attempt; None when no head was started."""
    try:
        record = regular.document(attempt_dir / HEAD)
        return Head(int(record["pid"]), int(record["start_ticks"]), int(record["shim"]), record["boot_id"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def forbid_start(attempt_dir: Path) -> None:
    """Make sure that no head is started for an attempt any more; does nothing if one was started.

    A supervisor may be suspended just before it starts the shim, and continue after its attempt was settled.
    The shim starts nothing where HEAD exists. The file server decides who created the file first.
    """
    durable.create(attempt_dir / HEAD, b"{}\n")


def of_execution(execution_id: str, attempts: Path, newest: int) -> list[psutil.Process]:
    """All live processes on this host that attempts 1 to `newest` of an execution have started.

    They are found by the mark in their environment and by the session that the shim created. A task that
    cleared its environment is still in the session; a task that left the session still has the mark.
    `attempts` is the folder with the attempts' folders. Processes of later attempts are left out, because an
    old supervisor that was suspended until now must not stop them.
    """
    found = {p.pid: p for p in processes.marked(MARK, marks(execution_id, newest))}
    for number in range(1, newest + 1):
        head = read(attempts / str(number))
        # The kernel does not reuse a session id while the session has members. So the session is ours if its
        # leader is gone or has our mark. A leader without the mark is a new process with a reused id.
        if head and head.boot_id == processes.boot_id() and (
            head.shim in found or processes.start_ticks(head.shim) is None
        ):
            found.update((p.pid, p) for p in processes.in_session(head.shim))
    return list(found.values())


def of_another_user(attempts: Path, newest: int) -> bool:
    """True when a process group that an execution has started here is another user's: it may be alive.

    Neither its environment can be read then nor, where /proc hides it, anything else. A leader that started
    after the head is a new process with a reused id.
    """
    heads = (read(attempts / str(number)) for number in range(1, newest + 1))
    return any(head.boot_id == processes.boot_id() and processes.has_others(head.shim)
               and (processes.start_ticks(head.shim) or 0) <= head.start_ticks
               for head in heads if head is not None)
