"""The ledger as it is now, and usage added up from it by any kind of group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from nfresume.billing import pricing
from nfresume.domain.costs import Meter, Price, Sample, Usage
from nfresume.domain.executions import Execution
from nfresume.domain.periods import Period
from nfresume.domain.workdirs import WorkDirState
from nfresume.settings import Settings
from nfresume.store import Store, ledger, queries

#: The pipeline, and the process, of what a task cache holds.
TASK_CACHE = "(task cache)"


@dataclass(frozen=True)
class CacheHeld:
    """The task cache of an account in a root, as a holder of bytes beside the executions."""

    root_id: str
    account: str
    samples: list[Sample]
    pipeline: str = TASK_CACHE

    @property
    def id(self) -> str:
        """How a report names it."""
        return f"{TASK_CACHE} {self.account}"

    @property
    def metered(self) -> int:
        """Metered bytes that it holds now, as last measured."""
        return self.samples[-1].metered


#: Whatever holds bytes over time.
Holder = Execution | CacheHeld


@dataclass(frozen=True)
class Ledger:
    """What a report is made from: executions of one account (None = all), sizes and prices over time."""

    account: str | None
    now: datetime
    executions: Mapping[str, Execution]
    samples: Mapping[str, list[Sample]]
    history: Mapping[str, list[Price]]  # by root
    root_id: str | None  # of the root of the settings
    price: Price  # of the same, now
    caches: Sequence[CacheHeld] = ()

    def prices(self, execution: Holder) -> Sequence[Price]:
        """The prices of an execution's root; today's where none was recorded yet."""
        return self.history.get(execution.root_id) or [self.price]

    @property
    def begun(self) -> datetime:
        """When the first of the samples was taken; now, when there is none."""
        every = (*self.samples.values(), *(cache.samples for cache in self.caches))
        return min((steps[0].at for steps in every), default=self.now)

    @property
    def holders(self) -> list[Holder]:
        """Executions and caches."""
        return [*self.executions.values(), *self.caches]

    def held(self) -> list[Execution]:
        """Executions whose work dir takes space now."""
        return [e for e in self.executions.values()
                if e.work_dir.state is not WorkDirState.DELETED and e.work_dir.metered_bytes]


def read(store: Store, conf: Settings, account: str | None, until: datetime | None = None) -> Ledger:
    """The ledger as it is now, samples taken before `until` (None = all)."""
    with store.begin(write=False) as tx:
        root = queries.root_at(tx, str(conf.root))
        price = pricing.of_root(tx, conf, root.id) if root else pricing.known(conf, tx.now)
        return Ledger(
            account, tx.now, {e.id: e for e in queries.newest(tx, account, limit=10**9)},
            ledger.samples(tx, account, until or tx.now), ledger.price_history(tx), root.id if root else None,
            price, [CacheHeld(root_id, whose, steps) for (root_id, whose), steps
                    in ledger.samples_of_caches(tx, account, until or tx.now).items()],
        )


class Groups:
    """Usage by group: amounts are added up in each root's meter, and made usage in the end."""

    def __init__(self, known: Ledger, asked: Period, cuts: Iterable[datetime] = ()) -> None:
        cuts = list(cuts)
        self._known = known
        self._meters: dict[str | None, Meter] = {
            root: Meter(prices, asked.start, asked.end, cuts) for root, prices in known.history.items()}
        self._meters[None] = Meter([known.price], asked.start, asked.end, cuts)
        self._amounts: dict[str, dict[str | None, list[int]]] = {}

    def meter(self, execution: Holder) -> tuple[str | None, Meter]:
        """The meter for an execution's root, and that root's id."""
        root = execution.root_id if execution.root_id in self._meters else None
        return root, self._meters[root]

    def amounts(self, key: str, execution: Holder) -> tuple[Meter, list[int]]:
        """Where the bytes of an execution are added up for a group."""
        root, meter = self.meter(execution)
        mine = self._amounts.setdefault(key, {})
        if root not in mine:
            mine[root] = meter.zeros()
        return meter, mine[root]

    def add(self, key: str, execution: Holder) -> None:
        """Add all that an execution or a cache held in the period to a group."""
        meter, amounts = self.amounts(key, execution)
        mine = execution.samples if isinstance(execution, CacheHeld) else self._known.samples.get(
            execution.id, ())
        meter.add(mine, amounts)

    def usage(self) -> dict[str, Usage]:
        """By group."""
        return {key: sum((self._meters[root].usage(amounts) for root, amounts in mine.items()), Usage())
                for key, mine in self._amounts.items()}

    def by_interval(self) -> dict[datetime, Usage]:
        """Usage by the start of each interval, over all groups."""
        found: dict[datetime, Usage] = {}
        for mine in self._amounts.values():
            for root, amounts in mine.items():
                meter = self._meters[root]
                for at, (start, amount) in enumerate(zip(meter.starts, amounts, strict=True)):
                    if amount:
                        one = meter.zeros()
                        one[at] = amount
                        found[start] = found.get(start, Usage()) + meter.usage(one)
        return found


def held_now(execution: Holder) -> int:
    """Metered bytes of a work dir, or a cache, that is still there."""
    if isinstance(execution, CacheHeld):
        return execution.metered
    gone = execution.work_dir.state is WorkDirState.DELETED
    return 0 if gone else execution.work_dir.metered_bytes or 0
