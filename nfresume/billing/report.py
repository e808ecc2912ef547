"""The cost report: what retained storage costs now, over a period, and until everything has expired."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from nfresume.billing import enforcement, reuse_value, savings, usage
from nfresume.billing.reuse_value import ReuseValue
from nfresume.billing.usage import CACHES, Groups, Ledger, stored_now
from nfresume.domain import costs, periods
from nfresume.domain.budgets import Standing
from nfresume.domain.costs import Price, Usage
from nfresume.domain.executions import Execution
from nfresume.domain.periods import Period
from nfresume.retained.places import Folders
from nfresume.settings import Settings
from nfresume.store import Store, queries
from nfresume.store.ledger import process_samples


class By(StrEnum):
    """What each line of a report stands for."""

    EXECUTION = "execution"
    ACCOUNT = "account"
    PIPELINE = "pipeline"
    PROCESS = "process"
    DAY = "day"


@dataclass(frozen=True)
class Line:
    """One line: `usage` in the period, and the `metered` bytes stored now.

    A line of an execution or a pipeline also has a reuse value, where that is known.
    """

    key: str
    usage: Usage
    metered: int
    reuse_value: ReuseValue | None = None


@dataclass(frozen=True)
class Report:
    """A cost report. Costs are in `currency`.

    metered: bytes stored now; caches: bytes of them in caches, by kind; work_dirs: how many store bytes now;
    per_month: cost of keeping what is stored now for a month; until_expiry: cost of keeping each work dir
    until it expires; without_expiry: how many have no expiry and are not in `until_expiry`; price: the price
    of the configured root now; emptied and slimmed: metered bytes that lean and slim retention save now.
    """

    period: Period
    by: By
    lines: list[Line]
    total: Usage
    metered: int
    work_dirs: int
    caches: Mapping[str, int]
    per_month: Decimal
    until_expiry: Decimal
    without_expiry: int
    price: Price
    budgets: list[Standing]
    emptied: int = 0
    slimmed: int = 0

    def saves(self, metered: int) -> Decimal:
        """What not keeping so many metered bytes saves a month."""
        return costs.cost_per_month(metered, self.price.per_gb_month)

    @property
    def currency(self) -> str:
        """The ISO 4217 code of the report's costs."""
        return self.price.currency


def build(
    store: Store, conf: Settings, account: str | None, by: By, choose_period: Callable[[datetime], Period]
) -> Report:
    """The report of an account (None = all). `choose_period` makes the period from now."""
    with store.begin(write=False) as tx:
        period = choose_period(tx.now)
    ledger = usage.read(store, conf, account, period.end, period.start, sizes=by is not By.PROCESS)
    return from_ledger(store, conf, ledger, by, period)


def from_ledger(store: Store, conf: Settings, ledger: Ledger, by: By, period: Period) -> Report:
    """The report from a ledger that was read before."""
    lines = lines_by(store, conf, ledger, by, period)
    stored = ledger.stored()
    rates = {e.id: ledger.prices(e)[-1] for e in stored}
    paid = [e for e in stored if rates[e.id].currency == ledger.price.currency]
    cached = [(c.metered, ledger.prices(c)[-1]) for c in ledger.caches]
    amounts = [(stored_now(e), rates[e.id]) for e in stored] + cached
    return Report(
        period=period, by=by, lines=lines, total=sum((line.usage for line in lines), Usage()),
        metered=sum(metered for metered, _ in amounts), work_dirs=len(stored),
        caches={kind: sum(c.metered for c in ledger.caches if c.kind == kind) for kind in CACHES},
        per_month=sum((costs.cost_per_month(metered, rate.per_gb_month) for metered, rate in amounts
                       if rate.currency == ledger.price.currency), Decimal(0)),
        until_expiry=sum((_to_come(e, rates[e.id], ledger.now) for e in paid), Decimal(0)),
        without_expiry=sum(e.work_dir.expires_at is None for e in stored), price=ledger.price,
        budgets=_budgets(store, conf, ledger), emptied=savings.emptied(store, conf, stored),
        slimmed=savings.slimmed(store, stored),
    )


def lines_of(
    store: Store, conf: Settings, by: By, accounts: Iterable[str], choose_period: Callable[[datetime], Period]
) -> tuple[list[Line], str]:
    """The lines of an account, or by account those of several, and their currency: nothing else of a report.
    """
    with store.begin(write=False) as tx:
        period = choose_period(tx.now)
    lines, currency = [], ""
    for account in accounts:
        ledger = usage.read(store, conf, account, period.end, period.start, sizes=by is not By.PROCESS)
        lines += lines_by(store, conf, ledger, by, period)
        currency = ledger.price.currency
    return _in_order(lines, currency) if by is By.ACCOUNT else lines, currency


def lines_by(
    store: Store, conf: Settings, ledger: Ledger, by: By, period: Period, most: int | None = None,
) -> list[Line]:
    """The lines of a report, the most expensive first. The first `most` executions have a reuse value."""
    if by is By.PROCESS:
        return _by_process(store, ledger, period)
    if by is By.DAY:
        return _daily(ledger, period)
    lines = _lines(by, ledger, period)
    if by is By.EXECUTION:
        folders = Folders(store)
        return [replace(line, reuse_value=reuse_value.of_execution(
            folders, conf, ledger.executions[line.key], ledger.price))
                if line.key in ledger.executions else line for line in lines[:most]] + (
                    [] if most is None else lines[most:])
    if by is By.PIPELINE:
        suggested = reuse_value.of_pipelines(store, conf, ledger.account, [line.key for line in lines],
                                             ledger.price)
        return [replace(line, reuse_value=suggested.get(line.key)) for line in lines]
    return lines


def _budgets(store: Store, conf: Settings, ledger: Ledger) -> list[Standing]:
    """The budgets that concern the account. Each counts what all accounts in its scope retain."""
    if not conf.budgets:
        return []
    with store.begin(write=False) as tx:
        found = enforcement.standings(tx, conf, queries.to_sweep(tx))
    return [s for s in found if ledger.account is None or s.budget.account is None
            or any(e.account == ledger.account for e in s.members)]


def _to_come(execution: Execution, price: Price, now: datetime) -> Decimal:
    work_dir = execution.work_dir
    if work_dir.expires_at is None:
        return Decimal(0)
    hours = max(0.0, (work_dir.expires_at - now).total_seconds() / 3600)
    return costs.cost_until(work_dir.metered_bytes or 0, hours, price.per_gb_month)


def _lines(by: By, ledger: Ledger, period: Period) -> list[Line]:
    groups = Groups(ledger, period)
    stored: dict[str, int] = {}
    for execution in ledger.holders:
        key = {By.EXECUTION: execution.id, By.ACCOUNT: execution.account, By.PIPELINE: execution.pipeline}[by]
        groups.add(key, execution)
        stored[key] = stored.get(key, 0) + stored_now(execution)
    return _sorted(groups, stored, ledger.price.currency)


def _sorted(groups: Groups, stored: Mapping[str, int], currency: str) -> list[Line]:
    lines = [Line(key, used, stored[key]) for key, used in groups.usage().items()
             if used.parts or stored[key]]
    return _in_order(lines, currency)


def _in_order(lines: list[Line], currency: str) -> list[Line]:
    return sorted(lines, key=lambda line: (-line.usage.cost(currency), -line.metered, line.key))


def _by_process(store: Store, ledger: Ledger, period: Period) -> list[Line]:
    groups = Groups(ledger, period)
    stored: dict[str, int] = {}
    with store.begin(write=False) as tx:
        for execution_id, steps in process_samples(tx, ledger.account, ledger.since, period.end):
            execution = ledger.executions.get(execution_id)
            if execution is None:
                continue  # launched since the ledger was read
            for (at, sizes), until in zip(steps, [*(at for at, _ in steps[1:]), period.end], strict=True):
                groups.add_parts(sizes, execution, at, until)
            if stored_now(execution):
                for process, metered in steps[-1][1].items():
                    stored[process] = stored.get(process, 0) + metered
    for cache in ledger.caches:
        groups.add(cache.pipeline, cache)
        stored[cache.pipeline] = stored.get(cache.pipeline, 0) + cache.metered
    return _sorted(groups, defaultdict(int, stored), ledger.price.currency)


def _daily(ledger: Ledger, period: Period) -> list[Line]:
    """One line per day (UTC), from the first day on which anything was stored."""
    span = Period(max(ledger.first_sample_at, period.start), period.end)
    days = list(periods.days(span))
    groups = Groups(ledger, span, [day.start for day in days])
    for execution in ledger.holders:
        groups.add("", execution)
    used: dict[datetime, Usage] = {}
    for start, amount in groups.by_interval().items():
        midnight = periods.midnight(start)
        used[midnight] = used.get(midnight, Usage()) + amount
    begun = min(used, default=period.end)
    return [Line(f"{day.start:%Y-%m-%d}", used.get(periods.midnight(day.start), Usage()), 0)
            for day in days if periods.midnight(day.start) >= begun]
