"""Workers that share a growing heap of directories, newest first.

Latency, not processors, is what file operations wait for on a shared file system, so the number of
workers is chosen by the kind of file system and never by the number of cores. Directories are the unit
of work: Linux serialises changes within one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from nfresume import filesystems

#: One worker per slot of an NFSv4.1 session (Linux and EFS: 64); on a local disk the kernel is what is
#: busy, and more threads only wait for the interpreter.
NETWORK_WORKERS = 64
LOCAL_WORKERS = 2
WATCH_SECONDS = 0.1

Unit = TypeVar("Unit")


@dataclass(frozen=True)
class Pace:
    """How hard to work: `workers` (None: by the file system), `ceiling` in operations per second
    (None: no ceiling), and `stop`, which makes the work end early when it is set."""

    workers: int | None = None
    ceiling: float | None = None
    stop: threading.Event = field(default_factory=threading.Event)

    def workers_for(self, path: Path) -> int:
        """The number of workers for a folder."""
        if self.workers is not None:
            return self.workers
        return NETWORK_WORKERS if filesystems.is_network(filesystems.type_of(path)) else LOCAL_WORKERS


class Ceiling:
    """At most so many operations per second, all workers together."""

    def __init__(self, per_second: float, stop: threading.Event) -> None:
        self._interval = 1 / per_second
        self._stop = stop
        self._lock = threading.Lock()
        self._next = 0.0

    def wait(self) -> None:
        """Until the next operation is allowed, or the work is to stop."""
        with self._lock:
            now = time.monotonic()
            turn = max(self._next, now)
            self._next = turn + self._interval
        if turn > now:
            self._stop.wait(turn - now)


class Crew(Generic[Unit]):
    """Up to `workers` threads that handle units, and the units that handling adds."""

    def __init__(self, workers: int, stop: threading.Event, handle: Callable[[Unit], None]) -> None:
        self._most = max(1, workers)
        self._stop = stop
        self._handle = handle
        self._changed = threading.Condition()
        self._waiting: list[Unit] = []
        self._unfinished = 0
        self._idle = 0
        self._threads: list[threading.Thread] = []
        self._error: BaseException | None = None

    @property
    def waiting(self) -> int:
        """How many units nobody has begun."""
        return len(self._waiting)

    def add(self, units: Iterable[Unit]) -> None:
        """More to do; workers are started as there is work for them."""
        with self._changed:
            before = len(self._waiting)
            self._waiting.extend(units)
            added = len(self._waiting) - before
            self._unfinished += added
            if self._idle:
                self._changed.notify(added)
            missing = min(len(self._waiting) - self._idle, self._most - len(self._threads))
            for _ in range(missing):
                thread = threading.Thread(target=self._work, name="crew", daemon=True)
                self._threads.append(thread)
                thread.start()

    def run(self, units: Iterable[Unit], watch: Callable[[], None] = lambda: None) -> None:
        """Handle `units` and whatever they add; `watch` is called now and then from this thread.

        Raises what a handler or `watch` raised; then, and when stopped, units may be left.
        """
        self.add(units)
        try:
            while self._busy():
                watch()
        except BaseException as e:
            self._fail(e)
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        if self._error is not None:
            raise self._error

    def _busy(self) -> bool:
        with self._changed:
            return self._changed.wait_for(self._over, WATCH_SECONDS) is False

    def _over(self) -> bool:
        return not self._unfinished or self._error is not None or self._stop.is_set()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._idle += 1
                while not self._waiting and not self._over():
                    # A stop is noticed by run's watch loop, which wakes everybody.
                    self._changed.wait(WATCH_SECONDS * 5)
                self._idle -= 1
                if self._over():
                    self._changed.notify_all()
                    return
                unit = self._waiting.pop()
            try:
                self._handle(unit)
            except BaseException as e:
                self._fail(e)
            with self._changed:
                self._unfinished -= 1
                if not self._unfinished:
                    self._changed.notify_all()

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()
