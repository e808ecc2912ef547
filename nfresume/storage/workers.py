"""A pool of threads that work on a growing stack of directories, newest first.

On a shared file system operations wait for the network, not for the CPU. So the number of workers depends on
the kind of file system, never on the number of cores. The unit of work is a directory, because Linux
serialises changes within one.
"""

from __future__ import annotations

import functools
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from nfresume.system import filesystems

#: On a shared file system each call waits for the server: one worker per slot of an NFSv4.1 session (64 on
#: Linux and EFS).
SHARED = 64
#: On a local disk the kernel is the bottleneck; more threads would only wait for the interpreter lock.
LOCAL_REMOVERS = 2
LOCAL_READERS = 1
#: How often `WorkerPool.run` calls `watch`, in seconds.
WATCH_SECONDS = 0.1

Unit = TypeVar("Unit")


@dataclass(frozen=True)
class Pace:
    """How fast to work.

    `workers`: number of threads (None: chosen by the file system). `per_second`: at most so many operations
    per second (None: no limit), of all who share this pace. `stop`: when set, the work ends early.
    """

    workers: int | None = None
    per_second: float | None = None
    stop: threading.Event = field(default_factory=threading.Event)

    @functools.cached_property
    def rate_limit(self) -> RateLimit | None:
        """The limit that `per_second` sets."""
        return RateLimit(self.per_second, self.stop) if self.per_second else None

    def removers(self, path: Path) -> int:
        """How many workers change files at `path`."""
        return self.workers or (SHARED if _is_shared(path) else LOCAL_REMOVERS)

    def readers(self, path: Path) -> int:
        """How many workers read directories at `path`."""
        return self.workers or (SHARED if _is_shared(path) else LOCAL_READERS)


def _is_shared(path: Path) -> bool:
    return filesystems.is_network(filesystems.type_of(path))


class RateLimit:
    """Allows at most `per_second` operations per second, all workers together."""

    def __init__(self, per_second: float, stop: threading.Event) -> None:
        self._interval = 1 / per_second
        self._stop = stop
        self._lock = threading.Lock()
        self._next = 0.0

    def wait(self) -> None:
        """Wait until the next operation is allowed, or until `stop` is set."""
        with self._lock:
            now = time.monotonic()
            turn = max(self._next, now)
            self._next = turn + self._interval
        if turn > now:
            self._stop.wait(turn - now)


class WorkerPool(Generic[Unit]):
    """Up to `workers` threads that call `handle` with each unit, newest first; a handler may add units."""

    def __init__(self, workers: int, stop: threading.Event, handle: Callable[[Unit], None]) -> None:
        self._max_threads = max(1, workers)
        self._stop = stop
        self._handle = handle
        self._units: list[Unit] = []
        # One token per unit. SimpleQueue waits in C, unlike a Condition. False ends a thread.
        self._tokens: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._unfinished = 0
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._error: BaseException | None = None

    @property
    def waiting(self) -> int:
        """How many units no worker has begun."""
        return len(self._units)

    def add(self, units: Sequence[Unit]) -> None:
        """Add units; threads are started as needed."""
        with self._lock:
            self._unfinished += len(units)
            self._units.extend(units)
            missing = min(len(self._units), self._max_threads - len(self._threads))
            started = [threading.Thread(target=self._work, name="worker", daemon=True)
                       for _ in range(missing)]
            self._threads += started
        for _ in units:
            self._tokens.put(True)
        for thread in started:
            thread.start()

    def run(self, units: Sequence[Unit], watch: Callable[[], None] = lambda: None) -> None:
        """Handle `units` and all units that are added meanwhile.

        `watch` is called every WATCH_SECONDS from this thread. Raises the first error of a handler or of
        `watch`; then, or when stopped, some units are not handled.
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
