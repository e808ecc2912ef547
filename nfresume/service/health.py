"""Whether this server is well, and what it has done: for /readyz, /metrics and systemd's watchdog."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from nfresume.billing import pricing
from nfresume.domain.costs import cost_per_month
from nfresume.domain.errors import NfresumeError
from nfresume.settings import Settings
from nfresume.storage.root import Root
from nfresume.store import Store, figures, queries
from nfresume.system import bounded

#: How long one check may take.
CHECK_SECONDS = 3.0
#: How long the answer of a check is used again.
_FRESH_SECONDS = 2.0
#: After so many intervals without a whole sweep the server is not ready.
_INTERVALS = 5
#: How long the web's thread may not show a sign of life.
_BEAT_SECONDS = 20.0


@dataclass
class Health:
    """What the threads of one server report, and the checks. `clock` gives seconds that never go back."""

    clock: Callable[[], float] = time.monotonic
    scheduled: bool = False  # this server sweeps
    web: bool = False  # this server serves the web
    begun: float = 0.0
    swept: float | None = None
    sweeps: int = 0
    failed_sweeps: int = 0
    beat: float = 0.0
    removed_files: int = 0
    removed_bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _counting: threading.Lock = field(default_factory=threading.Lock)
    _answer: tuple[float, dict[str, bool]] | None = None

    def __post_init__(self) -> None:
        self.begun = self.beat = self.clock()

    def sweep_done(self, *, whole: bool) -> None:
        """Count a sweep; `whole`: it went to its end."""
        with self._counting:  # sweeps overlap
            if whole:
                self.swept, self.sweeps = self.clock(), self.sweeps + 1
            else:
                self.failed_sweeps += 1

    def removed(self, files: int, size: int) -> None:
        """Count what a sweep removed."""
        with self._counting:
            self.removed_files += files
            self.removed_bytes += size

    @property
    def since_sweep(self) -> float:
        """Seconds since the last whole sweep, or since the start if there was none."""
        return self.clock() - (self.swept if self.swept is not None else self.begun)

    @property
    def alive(self) -> bool:
        """False when the web's thread has hung for longer than any request may take."""
        return not self.web or self.clock() - self.beat < _BEAT_SECONDS

    def checks(self, store: Store, conf: Settings) -> dict[str, bool]:
        """Whether the database, the root and the sweep are well. Answers within a few seconds."""
        with self._lock:  # one look for everybody who asks meanwhile
            if self._answer is not None and self.clock() - self._answer[0] < _FRESH_SECONDS:
                return self._answer[1]
            found = {"database": _works(lambda: _read(store)), "root": _works(lambda: _look(conf))}
            if self.scheduled:
                found["sweep"] = self.since_sweep < max(60.0, _INTERVALS * conf.sweep_seconds)
            self._answer = (self.clock(), found)
            return found


def _works(check: Callable[[], None]) -> bool:
    try:
        bounded.call(CHECK_SECONDS, check)
    except (NfresumeError, OSError, TimeoutError):
        return False
    return True


def _read(store: Store) -> None:
    with store.begin(write=False):
        pass


def _look(conf: Settings) -> None:
    """Raises RootUnusable for a root that is away, full or not writable. It need not be made yet."""
    if conf.root.exists() or conf.sources["root"] != "default":
        Root.open(conf.root).check_space()


@dataclass(frozen=True)
class Snapshot:
    """The figures of the database, and what the retained storage costs a month, by currency."""

    figures: figures.Figures
    cost_per_month: dict[str, float]


def snapshot(store: Store, conf: Settings) -> Snapshot:
    """The figures of all accounts. Raises StoreUnavailable."""
    with store.begin(write=False) as tx:
        found = figures.gather(tx, max(300.0, _INTERVALS * conf.sweep_seconds))
        costs: dict[str, float] = {}
        for root in queries.all_roots(tx):
            price = pricing.of_root(tx, conf, root.id)
            metered = found.retained.get(root.id, (0, 0))[1]
            monthly = float(cost_per_month(metered, price.per_gb_month))
            costs[price.currency] = costs.get(price.currency, 0.0) + monthly
    return Snapshot(found, costs)
