"""The reuse value of a retained work dir: the task time that a relaunch saves, and its price.

It is compared with the cost of keeping the work dir.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from nfresume.domain import costs
from nfresume.domain.costs import Price
from nfresume.domain.errors import NfresumeError
from nfresume.domain.executions import Execution
from nfresume.domain.retention import MAX_HOURS
from nfresume.domain.workdirs import Retain, WorkDirState
from nfresume.nextflow import reuse
from nfresume.retained.places import Folders
from nfresume.settings import Settings
from nfresume.store import Store, ledger, queries
from nfresume.system import acting

#: From how many of its newest failures a pipeline's reuse value is computed.
_NEWEST_FAILURES = 20


@dataclass(frozen=True)
class ReuseValue:
    """The task time that a relaunch saves, what that costs, and after how many hours keeping has cost more.

    `saved_cost` and `break_even_hours` are None without a price per CPU-hour in the storage's currency. A
    pipeline has the medians of its newest failures.
    """

    saves: timedelta
    saved_cost: Decimal | None
    break_even_hours: Decimal | None

    @property
    def suggested_hours(self) -> int | None:
        """The storage_expiration_hours to suggest: the whole hours before the break-even."""
        return None if self.break_even_hours is None else min(int(self.break_even_hours), int(MAX_HOURS))


def of_execution(
    folders: Folders, conf: Settings, execution: Execution, price: Price
) -> ReuseValue | None:
    """The reuse value of a retained execution. None: not retained, or its root is not mounted."""
    if execution.work_dir.state is not WorkDirState.RETAINED:
        return None
    saves = saved_by_relaunch(folders, conf, execution)
    return None if saves is None else _value(conf, saves, execution.work_dir.metered_bytes or 0, price)


def of_pipelines(
    store: Store, conf: Settings, account: str | None, pipelines: Iterable[str], price: Price
) -> dict[str, ReuseValue]:
    """Reuse values by pipeline, from the records of its newest failures in an account (None = all).

    Records outlive work dirs.
    """
    with store.begin(write=False) as tx:
        newest = {pipeline: queries.newest_failures(tx, account, pipeline, _NEWEST_FAILURES)
                  for pipeline in pipelines}
        most = ledger.most(tx, [e.id for chosen in newest.values() for e in chosen])
    found: dict[str, ReuseValue] = {}
    folders = Folders(store)
    for pipeline, chosen in newest.items():
        saved = [(saved_by_relaunch(folders, conf, e), _kept(e, most[e.id])) for e in chosen]
        if each := [_value(conf, saves, most, price) for saves, most in saved if saves is not None]:
            found[pipeline] = _median(each)
    return found


def _kept(execution: Execution, most: int) -> int:
    """The metered bytes that a failure keeps; lean retention keeps less than there was during the run."""
    lean = execution.work_dir.metered_bytes if execution.retain is Retain.LEAN else None
    return lean or most


def saved_by_relaunch(folders: Folders, conf: Settings, execution: Execution) -> timedelta | None:
    """The task time that a relaunch would save. None: the root is not mounted."""
    try:
        with acting.for_account(conf, execution.account):
            return reuse.reusable(folders.of(execution).attempt(1).parent, execution.attempt)
    except NfresumeError:
        return None


def _value(conf: Settings, saves: timedelta, metered: int, price: Price) -> ReuseValue:
    rate = conf.price_per_cpu_hour
    if rate is None or conf.currency != price.currency:
        return ReuseValue(saves, None, None)
    return ReuseValue(saves, costs.cpu_cost(saves, rate),
                 costs.break_even_hours(saves, rate, metered, price.per_gb_month))


def _median(each: list[ReuseValue]) -> ReuseValue:
    from statistics import median  # takes 10 ms, and a launch does not need it

    hours = [w.break_even_hours for w in each if w.break_even_hours is not None]
    money = [w.saved_cost for w in each if w.saved_cost is not None]
    saves = timedelta(seconds=median(w.saves.total_seconds() for w in each))
    return ReuseValue(saves, median(money) if money else None,
                 median(hours) if hours else None)
