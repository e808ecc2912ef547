"""What retained storage costs: now, over a period, and until everything has expired."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from nfresume.billing import enforcement, reuse_value, usage
from nfresume.billing.reuse_value import ReuseValue
from nfresume.billing.usage import Groups, Ledger, held_now
from nfresume.domain import costs, periods
from nfresume.domain.budgets import Standing
from nfresume.domain.costs import Price, Usage
from nfresume.domain.executions import Execution
from nfresume.domain.periods import Period
from nfresume.settings import Settings
from nfresume.store import Store, ledger, queries


class By(StrEnum):
    """What the lines of a report are."""

    EXECUTION = "execution"
    ACCOUNT = "account"
    PIPELINE = "pipeline"
    PROCESS = "process"
    DAY = "day"


@dataclass(frozen=True)
class Line:
    """One line: what it is about, what was used in the period, what is held now (metered bytes).

    Of an execution or a pipeline also what a relaunch would save, where that is known.
    """

    key: str
    usage: Usage
    metered: int
    reuse_value: ReuseValue | None = None


@dataclass(frozen=True)
class Report:
    """`metered` bytes are held now, `caches` of them in task caches.

    `per_month` is the cost of what is held now at this rate; `until_expiry` of keeping each retained
    work dir until it expires, those without an expiry (`endless` many) left out. Both are in `currency`,
    that of `price`, which holds for the root of the settings now."""

    period: Period
    by: By
    lines: list[Line]
    total: Usage
    metered: int
    work_dirs: int
    caches: int
    per_month: Decimal
    until_expiry: Decimal
    endless: int
    price: Price
    budgets: list[Standing]

    @property
    def currency(self) -> str:
        """ISO 4217."""
        return self.price.currency


def build(
    store: Store, conf: Settings, account: str | None, by: By, chosen: Callable[[datetime], Period]
) -> Report:
    """The report of an account (None = all)."""
    with store.begin(write=False) as tx:
        asked = chosen(tx.now)
    return from_ledger(store, conf, usage.read(store, conf, account, asked.end), by, asked)


def from_ledger(store: Store, conf: Settings, known: Ledger, by: By, asked: Period) -> Report:
    """The report on a ledger that was read."""
    held = known.held()
    if by is By.PROCESS:
        lines = _by_process(store, known, asked)
    elif by is By.DAY:
        lines = _daily(known, asked)
    else:
        lines = _lines(by, known, asked)
    if by is By.EXECUTION:
        lines = [replace(line, reuse_value=reuse_value.of_execution(
            store, conf, known.executions[line.key], known.price))
                 if line.key in known.executions else line for line in lines]
    elif by is By.PIPELINE:
        suggested = reuse_value.of_pipelines(store, conf, known.executions.values(), known.samples,
                                             known.price)
        lines = [replace(line, reuse_value=suggested.get(line.key)) for line in lines]
    rates = {e.id: known.prices(e)[-1] for e in held}
    paid = [e for e in held if rates[e.id].currency == known.price.currency]
    cached = [(c.metered, known.prices(c)[-1]) for c in known.caches]
    holding = [(held_now(e), rates[e.id]) for e in held] + cached
    return Report(
        period=asked, by=by, lines=lines, total=sum((line.usage for line in lines), Usage()),
        metered=sum(metered for metered, _ in holding), work_dirs=len(held),
        caches=sum(metered for metered, _ in cached),
        per_month=sum((costs.cost_per_month(metered, rate.per_gb_month) for metered, rate in holding
                       if rate.currency == known.price.currency), Decimal(0)),
        until_expiry=sum((_to_come(e, rates[e.id], known.now) for e in paid), Decimal(0)),
        endless=sum(e.work_dir.expires_at is None for e in held), price=known.price,
        budgets=_budgets(store, conf, known),
    )


def _budgets(store: Store, conf: Settings, known: Ledger) -> list[Standing]:
    """Those that concern the account; they count what all accounts of their scope retain."""
    if not conf.budgets:
        return []
    with store.begin(write=False) as tx:
        found = enforcement.standings(tx, conf, queries.to_sweep(tx))
    return [s for s in found if known.account is None or s.budget.account is None
            or any(e.account == known.account for e in s.members)]


def _to_come(execution: Execution, price: Price, now: datetime) -> Decimal:
    work_dir = execution.work_dir
    if work_dir.expires_at is None:
        return Decimal(0)
    hours = max(0.0, (work_dir.expires_at - now).total_seconds() / 3600)
    return costs.cost_until(work_dir.metered_bytes or 0, hours, price.per_gb_month)


def _lines(by: By, known: Ledger, asked: Period) -> list[Line]:
    groups = Groups(known, asked)
    held: dict[str, int] = {}
    for execution in known.holders:
        key = {By.EXECUTION: execution.id, By.ACCOUNT: execution.account, By.PIPELINE: execution.pipeline}[by]
        groups.add(key, execution)
        held[key] = held.get(key, 0) + held_now(execution)
    return _sorted(groups, held, known.price.currency)


def _sorted(groups: Groups, held: Mapping[str, int], currency: str) -> list[Line]:
    lines = [Line(key, used, held[key]) for key, used in groups.usage().items() if used.parts or held[key]]
    return sorted(lines, key=lambda line: (-line.usage.cost(currency), -line.metered, line.key))


def _by_process(store: Store, known: Ledger, asked: Period) -> list[Line]:
    groups = Groups(known, asked)
    held: dict[str, int] = {}
    with store.begin(write=False) as tx:
        for execution_id, steps in ledger.process_samples(tx, known.account, asked.end):
            execution = known.executions[execution_id]
            _, meter = groups.meter(execution)
            for (at, sizes), until in zip(steps, [*(at for at, _ in steps[1:]), asked.end], strict=True):
                pieces = list(meter.split(at, until))
                for process, metered in sizes.items():
                    _, amounts = groups.amounts(process, execution)
                    for number, length in pieces:
                        amounts[number] += metered * length
            for process, metered in steps[-1][1].items():
                held[process] = held.get(process, 0) + (metered if held_now(execution) else 0)
    for cache in known.caches:
        groups.add(cache.pipeline, cache)
        held[cache.pipeline] = held.get(cache.pipeline, 0) + cache.metered
    return _sorted(groups, defaultdict(int, held), known.price.currency)


def _daily(known: Ledger, asked: Period) -> list[Line]:
    """A line for each day (UTC) from the first on which anything was held."""
    span = Period(max(known.begun, asked.start), asked.end)
    days = list(periods.days(span))
    groups = Groups(known, span, [day.start for day in days])
    for execution in known.holders:
        groups.add("", execution)
    used: dict[datetime, Usage] = {}
    for start, amount in groups.by_interval().items():
        midnight = periods.midnight(start)
        used[midnight] = used.get(midnight, Usage()) + amount
    begun = min(used, default=asked.end)
    return [Line(f"{day.start:%Y-%m-%d}", used.get(periods.midnight(day.start), Usage()), 0)
            for day in days if periods.midnight(day.start) >= begun]
