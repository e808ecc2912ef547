"""Nextflow's output and progress of a running attempt, as they come."""

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
_SETTLING_TICK = 0.005  # between Nextflow's end and the supervisor's word


@dataclass
class Update:
    """What is new since the last update. `log` accumulates; None without progress."""

    stdout: bytes
    stderr: bytes
    log: nextflow_log.RunLog | None
    execution: Execution


class Follower:
    """Iterates over updates until the attempt is over and its output passed on."""

    def __init__(self, service: Service, execution: Execution) -> None:
        self._service = service
        self._execution = execution
        self._place = service.folder(execution).attempt(execution.attempt)
        self._reader = nextflow_log.LogReader(self._place / command.LOG)
        self._offsets = {command.STDOUT: 0, command.STDERR: 0}

    def updates(self, *, progress: bool = False, tick: float = 0.03) -> Iterator[Update]:
        """One update per `tick` seconds at most; the last one has the ended execution."""
        asked = 0.0
        checked = time.monotonic()
        while True:
            ended = (self._place / command.EXIT_STATUS).exists()
            if ended or time.monotonic() - asked > 0.25:
                asked = time.monotonic()
                self._execution = self._service.get(self._execution.id)
            if time.monotonic() - checked > self._service.conf.lease_seconds:
                checked = time.monotonic()
                self._execution = self._service.settled_if_lost(self._execution)
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
            with (self._place / name).open("rb") as file:
                file.seek(self._offsets[name])
                data = file.read(_CHUNK)
        except FileNotFoundError:
            return b""
        self._offsets[name] += len(data)
        return data


@dataclass(frozen=True)
class Reuse:
    """What a relaunch reused: tasks by fate, and the task time that was not spent again."""

    cached: int
    rerun: int
    new: int
    saved: timedelta


def reuse(folder: ExecutionFolder, number: int) -> Reuse:
    """Compare attempt `number` with those before it: a task run again had been seen before."""
    seen: set[str] = set()
    for earlier in range(1, number):
        seen |= {t.name for t in nextflow_log.read(folder.attempt(earlier) / command.LOG).tasks.values()}
    place = folder.attempt(number)
    log = nextflow_log.read(place / command.LOG)
    run = {t.name for t in log.tasks.values() if not t.cached}
    earlier_traces = [folder.attempt(n) / command.TRACE for n in range(1, number)]
    saved = trace.reused(place / command.TRACE, earlier_traces)
    return Reuse(log.counts.cached, len(run & seen), len(run - seen), saved)
