"""Workers that share a growing heap of directories, newest first.

Latency, not processors, is what file operations wait for on a shared file system, so the number of
workers is chosen by the kind of file system and never by the number of cores. Directories are the unit
of work: Linux serialises changes within one.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from nfresume.system import filesystems

#: Changes wait for the server, one at a time in each directory: a worker per slot of an NFSv4.1 session
#: (64 on Linux and EFS). Reads come by the directory and keep the interpreter busy sooner.
REMOVERS = 64
READERS = 16
#: On a local disk the kernel is what is busy, and more threads only wait for the interpreter.
LOCAL_REMOVERS = 2
LOCAL_READERS = 1
WATCH_SECONDS = 0.1

Unit = TypeVar("Unit")


@dataclass(frozen=True)
class Pace:
    """How hard to work: `workers` (None: by the file system), `ceiling` in operations per second
    (None: no ceiling), and `stop`, which makes the work end early when it is set."""

    workers: int | None = None
    ceiling: float | None = None
    stop: threading.Event = field(default_factory=threading.Event)

    def removers(self, path: Path) -> int:
        """The number of workers that change a folder."""
        return self.workers or (REMOVERS if _is_shared(path) else LOCAL_REMOVERS)

    def readers(self, path: Path) -> int:
        """The number of workers that read a folder."""
        return self.workers or (READERS if _is_shared(path) else LOCAL_READERS)


def _is_shared(path: Path) -> bool:
    return filesystems.is_network(filesystems.type_of(path))


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
    """Up to `workers` threads that handle units, newest first, and the units that handling adds."""

    def __init__(self, workers: int, stop: threading.Event, handle: Callable[[Unit], None]) -> None:
        self._most = max(1, workers)
        self._stop = stop
        self._handle = handle
        self._units: list[Unit] = []
        # One token per unit: waiting for one costs no Python, unlike a Condition. False sends home.
        self._tokens: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._unfinished = 0
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._error: BaseException | None = None

    @property
    def waiting(self) -> int:
        """How many units nobody has begun."""
        return len(self._units)

    def add(self, units: Sequence[Unit]) -> None:
        """More to do; workers are started as there is work for them."""
        with self._lock:
            self._unfinished += len(units)
            self._units.extend(units)
            missing = min(len(self._units), self._most - len(self._threads))
            started = [threading.Thread(target=self._work, name="crew", daemon=True) for _ in range(missing)]
            self._threads += started
        for _ in units:
            self._tokens.put(True)
        for thread in started:
            thread.start()

    def run(self, units: Sequence[Unit], watch: Callable[[], None] = lambda: None) -> None:
        """Handle `units` and whatever they add; `watch` is called now and then from this thread.

        Raises what a handler or `watch` raised; then, and when stopped, units may be left.
        """
        if not units:
            return
        self.add(units)
        try:
            while not self._over.wait(WATCH_SECONDS) and not self._stop.is_set():
                watch()
        except BaseException as e:
            self._fail(e)
        self._over.set()
        for _ in self._threads:
            self._tokens.put(False)
        for thread in self._threads:
            thread.join()
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while self._tokens.get() and not self._over.is_set() and not self._stop.is_set():
            try:
                self._handle(self._units.pop())
            except BaseException as e:
                self._fail(e)
            with self._lock:
                self._unfinished -= 1
                if not self._unfinished:
                    self._over.set()

    def _fail(self, error: BaseException) -> None:
        self._error = self._error or error
        self._over.set()
