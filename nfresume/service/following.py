"""Follow a running attempt: its output and its progress, as they are written."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from nfresume.domain.executions import Execution
from nfresume.nextflow import command, trace
from nfresume.nextflow import log as nextflow_log
from nfresume.service.verbs import Service
from nfresume.storage.root import ExecutionFolder

_CHUNK = 1 << 20
_SETTLING_TICK = 0.005  # seconds between looks, after Nextflow's end and before the settlement


@dataclass
class Update:
    """What is new since the last update. `log` has everything so far; None if no progress was asked for."""

    stdout: bytes
    stderr: bytes
    log: nextflow_log.RunLog | None
    execution: Execution


class Follower:
    """Gives updates until the attempt has ended and all of its output was given."""

    def __init__(self, service: Service, execution: Execution) -> None:
        self._service = service
        self._execution = execution
        self._attempt_dir = service.folder(execution).attempt(execution.attempt)
        self._reader = nextflow_log.LogReader(self._attempt_dir / command.LOG)
        self._offsets = {command.STDOUT: 0, command.STDERR: 0}

    def updates(self, *, progress: bool = False, tick: float = 0.03) -> Iterator[Update]:
        """Updates, at most one every `tick` seconds. The last one has the ended execution."""
        asked = 0.0
        checked = time.monotonic()
        while True:
            ended = (self._attempt_dir / command.EXIT_STATUS).exists()
            if ended or time.monotonic() - asked > 0.25:
                asked = time.monotonic()
                self._execution = self._service.get(self._execution.id)
            if time.monotonic() - checked > self._service.conf.lease_seconds:
                checked = time.monotonic()
                self._execution = self._service.settle_if_lost(self._execution)
            over = not self._execution.state.live
            if progress:
                self._reader.poll()
            update = Update(self._new(command.STDOUT), self._new(command.STDERR),
                            self._reader.run if progress else None, self._execution)
            yield update
            if over and not (update.stdout or update.stderr):
                return
            if not over:
                time.sleep(_SETTLING_TICK if ended and time.monotonic() - checked < 2 else tick)

    def _new(self, name: str) -> bytes:
        try:
            with (self._attempt_dir / name).open("rb") as file:
                file.seek(self._offsets[name])
                data = file.read(_CHUNK)
        except FileNotFoundError:
            return b""
        self._offsets[name] += len(data)
        return data


@dataclass(frozen=True)
class Reuse:
    """How many tasks of a relaunch were reused, run again, or new, and the task time that was saved."""

    cached: int
    rerun: int
    new: int
    saved: timedelta


def reuse(folder: ExecutionFolder, number: int) -> Reuse:
    """Compare attempt `number` with the earlier ones. A task is new if no earlier attempt had its name."""
    seen: set[str] = set()
    for earlier in range(1, number):
        seen |= {t.name for t in nextflow_log.read(folder.attempt(earlier) / command.LOG).tasks.values()}
    attempt_dir = folder.attempt(number)
    log = nextflow_log.read(attempt_dir / command.LOG)
    run = {t.name for t in log.tasks.values() if not t.cached}
    earlier_traces = [folder.attempt(n) / command.TRACE for n in range(1, number)]
    saved = trace.reused(attempt_dir / command.TRACE, earlier_traces)
    return Reuse(log.counts.cached, len(run & seen), len(run - seen), saved)
