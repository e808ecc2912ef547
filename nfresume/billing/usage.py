"""Read the stored samples and prices, and add up usage by any grouping."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from nfresume.billing import pricing
from nfresume.domain import costs
from nfresume.domain.costs import Meter, Price, Sample, Usage
from nfresume.domain.executions import Execution
from nfresume.domain.periods import Period
from nfresume.domain.workdirs import WorkDirState
from nfresume.settings import Settings
from nfresume.store import Store, ledger, queries

#: A work dir that was deleted so long before a period has stored nothing in it.
_SLACK = timedelta(days=1)
#: What stands for the pipeline and the process of a cache, by its kind.
CACHES = {"tasks": "(task cache)", "environments": "(environments)"}


@dataclass(frozen=True)
class CacheHolder:
    """A cache of an account in a root, of tasks or environments. It stores bytes, as an execution does."""

    root_id: str
    account: str
    kind: str
    samples: list[Sample]

    @property
    def pipeline(self) -> str:
        """What stands for its pipeline in a report."""
        return CACHES.get(self.kind, f"({self.kind})")

    @property
    def id(self) -> str:
        """Its name in a report."""
        return f"{self.pipeline} {self.account}"

    @property
    def metered(self) -> int:
        """The metered bytes that it stores now, by the last measurement."""
        return self.samples[-1].metered


#: Whatever stores bytes over time.
Holder = Execution | CacheHolder


@dataclass(frozen=True)
class Ledger:
    """What a report is made from: the executions of an account (None = all), their samples, and the prices.

    `samples` are by execution id.
    """

    account: str | None
    now: datetime
    executions: Mapping[str, Execution]
    samples: Mapping[str, list[Sample]]
    history: Mapping[str, list[Price]]  # by root id
    root_id: str | None  # of the configured root
    price: Price  # of the configured root, now
    caches: Sequence[CacheHolder] = ()
    since: datetime | None = None  # work dirs that were deleted before are left out
    #: What each execution stored, by period and cuts: reports by several groupings add it up once.
    integrals: dict[tuple[Period, tuple[datetime, ...]], dict[str, list[int]]] = field(default_factory=dict)

    def prices(self, holder: Holder) -> Sequence[Price]:
        """The prices of the holder's root; today's price where none was stored yet."""
        return self.history.get(holder.root_id) or [self.price]

    @property
    def first_sample_at(self) -> datetime:
        """When the first sample was taken; now, if there is none."""
        every = (*self.samples.values(), *(cache.samples for cache in self.caches))
        return min((steps[0].at for steps in every), default=self.now)

    @property
    def holders(self) -> list[Holder]:
        """All executions and caches."""
        return [*self.executions.values(), *self.caches]

    def stored(self) -> list[Execution]:
        """The executions whose work dir stores bytes now."""
        return [e for e in self.executions.values()
                if e.work_dir.state is not WorkDirState.DELETED and e.work_dir.metered_bytes]


def read(
    store: Store, conf: Settings, account: str | None, until: datetime, since: datetime | None = None, *,
    sizes: bool = True,
) -> Ledger:
    """Read the ledger of an account (None = all), with samples from before `until`; no `sizes`: without them.

    `since`: work dirs that were deleted before are left out.
    """
    since = since - _SLACK if since is not None else None
    with store.begin(write=False) as tx:
        root = queries.root_at(tx, str(conf.root))
        price = pricing.of_root(tx, conf, root.id) if root else pricing.known_price(conf, tx.now)
        found = queries.newest(tx, account, limit=10**9) if since is None else queries.storing(
            tx, account, since)
        return Ledger(
            account, tx.now, {e.id: e for e in found},
            ledger.samples(tx, account, since, until) if sizes else {},
            ledger.price_history(tx), root.id if root else None,
            price, [CacheHolder(root_id, whose, kind, steps) for (root_id, whose, kind), steps
                    in ledger.samples_of_caches(tx, account, until).items()], since,
        )


@dataclass(frozen=True)
class Storage:
    """What one execution has stored. `steps` are its samples, `processes` the bytes of each now."""

    used: Usage
    steps: Sequence[Sample]
    processes: Mapping[str, int]


def of_execution(store: Store, conf: Settings, execution: Execution) -> Storage:
    """What one execution has stored until now."""
    with store.begin(write=False) as tx:
        rows = ledger.samples_of(tx, execution.id)
        prices = ledger.price_history(tx).get(execution.root_id) or [
            pricing.of_root(tx, conf, execution.root_id)]
        now = tx.now
    steps = [Sample(at, metered) for at, metered, _ in rows]
    start = steps[0].at if steps else now
    return Storage(costs.usage(steps, prices, start, now), steps, rows[-1][2] if rows else {})


class Groups:
    """Adds up usage by group. Each root has its own Meter, because prices differ by root.

    `cuts` are further borders of the intervals, see `Meter`.
    """

    def __init__(self, ledger: Ledger, period: Period, cuts: Iterable[datetime] = ()) -> None:
        cuts = list(cuts)
        self._ledger = ledger
        self._meters: dict[str | None, Meter] = {
            root: Meter(prices, period.start, period.end, cuts) for root, prices in ledger.history.items()}
        self._meters[None] = Meter([ledger.price], period.start, period.end, cuts)
        self._amounts: dict[str, dict[str | None, list[int]]] = {}
        self._integrals = ledger.integrals.setdefault((period, tuple(cuts)), {})

    def meter(self, holder: Holder) -> tuple[str | None, Meter]:
        """The holder's root id and the Meter of that root. The id is None if the root has no stored price."""
        root = holder.root_id if holder.root_id in self._meters else None
        return root, self._meters[root]

    def amounts(self, key: str, holder: Holder) -> tuple[Meter, list[int]]:
        """The Meter of the holder's root, and the amounts of the group `key` in that root, to add to."""
        root, meter = self.meter(holder)
        mine = self._amounts.setdefault(key, {})
        if root not in mine:
            mine[root] = meter.zeros()
        return meter, mine[root]

    def add(self, key: str, holder: Holder) -> None:
        """Add everything that the holder stored in the period to the group `key`."""
        meter, amounts = self.amounts(key, holder)
        if isinstance(holder, CacheHolder):
            meter.add(holder.samples, amounts)
            return
        if (known := self._integrals.get(holder.id)) is None:
            known = self._integrals[holder.id] = meter.zeros()
            meter.add(self._ledger.samples.get(holder.id, ()), known)
        for number, amount in enumerate(known):
            amounts[number] += amount

    def add_parts(self, parts: Mapping[str, int], holder: Holder, begin: datetime, finish: datetime) -> None:
        """Add what the holder stored in [begin, finish): `parts` are metered bytes by group."""
        root, meter = self.meter(holder)
        for number, length in meter.split(begin, finish):
            for key, metered in parts.items():
                try:
                    amounts = self._amounts[key][root]
                except KeyError:
                    _, amounts = self.amounts(key, holder)
                amounts[number] += metered * length

    def usage(self) -> dict[str, Usage]:
        """Usage by group."""
        return {key: sum((self._meters[root].usage(amounts) for root, amounts in mine.items()), Usage())
                for key, mine in self._amounts.items()}

    def by_interval(self) -> dict[datetime, Usage]:
        """Usage of all groups together, by the start of each interval."""
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


def stored_now(holder: Holder) -> int:
    """The metered bytes that a work dir or a task cache stores now; 0 for a deleted one."""
    if isinstance(holder, CacheHolder):
        return holder.metered
    gone = holder.work_dir.state is WorkDirState.DELETED
    return 0 if gone else holder.work_dir.metered_bytes or 0
