"""Follow a running attempt: its output and its progress, as they are written.

Looks follow each other fast while something happens, and every five seconds while nothing does. Each look
reads only what is new. Where the head runs on this host, its end is noticed at once.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from nfresume.domain.executions import Execution
from nfresume.nextflow import command, reading, record, record_file, reuse
from nfresume.nextflow import processes as nextflow_processes
from nfresume.nextflow.record import Task
from nfresume.nextflow.summary import Summary
from nfresume.service.patience import Patience
from nfresume.service.verbs import Service
from nfresume.storage.root import ExecutionFolder

_CHUNK = 1 << 20
#: Seconds between looks: at first, and at most. The end of a head on this host needs no look.
_FIRST, _LAST = 0.03, 5.0
#: After a look without news the next one is so much later.
_SLOWER = 1.3
#: Seconds between looks after the head's end: the settlement follows soon.
_SETTLING, _SETTLING_SECONDS = 0.01, 2.0


@dataclass
class Update:
    """What is new since the last update. `progress` has everything so far; None if it was not asked for.

    `goes_on`: the attempt had to end, and the next one goes on, as the history says.
    """

    stdout: bytes
    stderr: bytes
    progress: Summary | None
    execution: Execution
    goes_on: Mapping[str, Any] | None = None


class Tail:
    """The new bytes of a file that grows. A link is not followed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self._offset = 0
        self._failed = False

    def read(self, most: int = _CHUNK) -> bytes:
        """What is new, at most `most` bytes. Raises OSError when a file that was there cannot be read."""
        if self._fd < 0:
            try:
                self._fd = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError:
                if self._failed:  # also when it is missing: it may be on its way back
                    raise
                return b""
        try:
            data = os.pread(self._fd, most, self._offset)
        except OSError:
            self.close()  # a file server that was away may know it by another handle
            self._failed = True
            raise
        self._failed = False
        self._offset += len(data)
        return data

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class _Progress:
    """The progress of an attempt, from its newest record."""

    def __init__(self, attempt_dir: Path) -> None:
        self._attempt_dir = attempt_dir
        self._reader: record_file.Reader | None = None
        self.total = Summary()

    def look(self) -> bool:
        """Read what is new. When another supervisor has begun a record, that one is read from its start."""
        try:
            return self._look()
        except OSError:
            self.close()  # it is found again, and read from its start
            self._reader, self.total = None, Summary()
            raise

    def _look(self) -> bool:
        news = self._read()
        if not news and (found := reading.newest(self._attempt_dir, ended=False)) is not None and (
                self._reader is None or self._reader.path != found):
            self.close()
            self._reader, self.total = record_file.Reader(found), Summary()
            news = self._read()
        return news

    def _read(self) -> bool:
        before = self._reader.offset if self._reader is not None else 0
        for line in self._reader.poll() if self._reader is not None else ():
            self.total.add(line)
        return self._reader is not None and self._reader.offset > before

    def close(self) -> None:
        """Close the record."""
        if self._reader is not None:
            self._reader.close()


class Follower:
    """Gives updates until the attempt has ended and all of its output was given.

    When a new attempt goes on by itself, it is followed, too.

    `wake` is an eventfd: when it becomes readable the next update comes at once. `say` is told when the
    database is away: the run goes on without it, and updates come from files.
    """

    def __init__(
        self, service: Service, execution: Execution, wake: int = -1,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._service = service
        self._database, self._disk = Patience(say, execution.id), Patience(say, execution.id)
        self._wake = wake
        self._execution = execution
        self._begin(execution.attempt)

    def _begin(self, number: int) -> None:
        self._number = number
        self._attempt_dir = self._service.folder(self._execution).attempt(number)
        self._tails = [Tail(self._attempt_dir / name) for name in (command.STDOUT, command.STDERR)]
        self._progress = _Progress(self._attempt_dir)
        self._head = -1  # a pidfd of the head, which becomes readable when it has ended

    def updates(self, *, progress: bool = False, fastest: float = _FIRST) -> Iterator[Update]:
        """Updates, at least `fastest` seconds apart. The last one has the ended execution."""
        wait, asked, checked, ended_at = fastest, 0.0, time.monotonic(), None
        try:
            while True:
                now = time.monotonic()
                if ended_at is None and os.path.exists(self._attempt_dir / command.EXIT_STATUS):
                    ended_at = now
                if ended_at is not None or now - asked > min(_LAST, 4 * wait):
                    asked = now
                    self._ask(self._service.current)
                if now - checked > self._service.conf.lease_seconds:
                    checked = now
                    self._ask(self._service.settle_if_lost)
                goes_on = self._execution.attempt > self._number
                over = not self._execution.state.live and not goes_on
                out, err, news = self._look(progress)
                yield Update(out, err, self._progress.total if progress else None, self._execution)
                all_read = not (out or err or self._disk.away)
                if over and all_read:
                    return
                if goes_on and all_read:  # it needed files whose content was not kept
                    yield Update(b"", b"", self._progress.total if progress else None, self._execution,
                                 self._why_it_goes_on())
                    self._close()
                    self._begin(self._number + 1)
                    ended_at, wait = None, fastest
                    continue
                news = news or bool(out or err)
                wait = fastest if news else min(_LAST, wait * _SLOWER)
                if not over or self._disk.away:
                    settling = ended_at is not None and now - ended_at < _SETTLING_SECONDS
                    self._wait(_SETTLING if settling else wait)
        finally:
            self._close()

    def _look(self, progress: bool) -> tuple[bytes, bytes, bool]:
        """What is new in the output, in the errors, and whether there is progress."""
        out, err, news = b"", b"", False
        with self._disk.waiting():
            out = self._tails[0].read()
            err = self._tails[1].read()
            news = progress and self._progress.look()
        return out, err, news

    def _ask(self, question: Callable[[Execution], Execution]) -> None:
        with self._database.waiting():
            self._execution = question(self._execution)

    def _why_it_goes_on(self) -> Mapping[str, Any] | None:
        with self._database.waiting():
            events = self._service.details(self._execution).events
            return next((e.detail for e in events if e.name == "goes_on" and e.attempt == self._number), None)
        return None

    def _wait(self, seconds: float) -> None:
        """Wait, but not longer than the head lives, if it runs on this host."""
        if self._head < 0 and seconds > 10 * _FIRST:
            with contextlib.suppress(OSError):
                head = nextflow_processes.read(self._attempt_dir)
                if head is not None and head.alive:
                    self._head = os.pidfd_open(head.pid)
        poll = select.poll()
        for fd in (self._head, self._wake):
            if fd >= 0:
                poll.register(fd, select.POLLIN)
        ready = {fd for fd, _ in poll.poll(seconds * 1000)}
        if self._wake in ready:
            os.eventfd_read(self._wake)
        if self._head in ready:
            os.close(self._head)
            self._head = -1

    def _close(self) -> None:
        self._progress.close()
        for tail in self._tails:
            tail.close()
        if self._head >= 0:
            os.close(self._head)
            self._head = -1


@dataclass(frozen=True)
class Reuse:
    """How many tasks of a relaunch were reused, run again, or new, and the task time that was saved."""

    cached: int
    rerun: int
    new: int
    saved: timedelta


def compare(folder: ExecutionFolder, number: int) -> Reuse:
    """Compare attempt `number` with the earlier ones. A task is new if no earlier attempt had its name."""
    seen: set[int] = set()  # names as hashes: they take less memory
    for earlier in range(1, number):
        seen.update(hash(line.name) for line in reading.lines(folder.attempt(earlier))
                    if isinstance(line, Task))
    attempt_dir, total = folder.attempt(number), Summary()
    rerun: set[int] = set()
    new: set[int] = set()
    for line in reading.lines(attempt_dir):
        total.add(line)
        if isinstance(line, Task) and line.status not in (record.Status.CACHED, record.Status.STORED):
            (rerun if hash(line.name) in seen else new).add(hash(line.name))
    return Reuse(total.counts.cached, len(rerun), len(new), reuse.reused(attempt_dir))
