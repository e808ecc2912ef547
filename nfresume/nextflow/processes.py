"""The head of an attempt, Nextflow's own process, and everything that it may have left behind."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import psutil

from nfresume.nextflow.command import HEAD, MARK, marks
from nfresume.system import durable, processes


@dataclass(frozen=True)
class Head:
    """What the shim recorded before it started Nextflow."""

    pid: int
    start_ticks: int
    shim: int
    boot_id: str

    @property
    def alive(self) -> bool:
        """True while this very process runs on this host and boot; a reused pid is another one."""
        return self.boot_id == processes.boot_id() and processes.is_alive(self.pid, self.start_ticks)

    def terminate(self) -> None:
        """SIGTERM to the head alone: Nextflow then ends its tasks and grid jobs itself."""
        if self.alive:
            os.kill(self.pid, signal.SIGTERM)


def read(attempt_dir: Path) -> Head | None:
    """The head of an attempt; None when none was started."""
    try:
        record = json.loads((attempt_dir / HEAD).read_bytes())
        return Head(int(record["pid"]), int(record["start_ticks"]), int(record["shim"]), record["boot_id"])
    except (FileNotFoundError, ValueError, KeyError):
        return None


def forbid_start(attempt_dir: Path) -> None:
    """Let nothing be started for an attempt any more, unless it was already.

    A supervisor may be stopped just before it starts the shim, and go on when its attempt is long settled.
    The shim runs nothing where there is a record; the file server decides who came first.
    """
    durable.create(attempt_dir / HEAD, b"{}\n")


def of_execution(execution_id: str, attempts: Path, newest: int) -> list[psutil.Process]:
    """Every process of an execution that lives on this host, whichever attempt up to `newest` started it.

    Found by the mark in its environment, and by the session that the shim opened: a task that cleared
    its environment is still in that session, one that left the session still has the mark. `attempts`
    is the folder that holds the attempts' folders. What a later attempt started is not an earlier one's
    to stop: its supervisor may have slept until now.
    """
    found = {p.pid: p for p in processes.marked(MARK, marks(execution_id, newest))}
    for number in range(1, newest + 1):
        head = read(attempts / str(number))
        # A session's number is not given to a new process while the session has a member. So it is
        # ours if its leader is gone, or carries our mark; a leader without it got a reused number.
        if head and head.boot_id == processes.boot_id() and (
            head.shim in found or processes.start_ticks(head.shim) is None
        ):
            found.update((p.pid, p) for p in processes.in_session(head.shim))
    return list(found.values())
