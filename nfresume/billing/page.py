"""The cost report as one self-contained HTML file. It opens offline and loads nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from nfresume.billing import charts, report, usage
from nfresume.billing.report import By, Line, Report
from nfresume.domain import wording
from nfresume.domain.executions import Execution
from nfresume.domain.periods import Period
from nfresume.settings import Settings
from nfresume.store import Store

#: How many lines each table of the file shows, the most expensive first; and of the console.
_LINES = 50
_MOST_LINES = 100


@dataclass(frozen=True)
class CostsPage:
    """What the page shows: the report by pipeline, the first lines of each grouping, plotly figures by name.

    `executions` are those of the lines. `counts`: how many lines each grouping has.
    """

    now: datetime
    report: Report
    tables: dict[By, list[Line]]
    counts: dict[By, int]
    executions: dict[str, Execution]
    figures: dict[str, charts.Figure]


def gather(
    store: Store, conf: Settings, account: str | None, choose_period: Callable[[datetime], Period]
) -> CostsPage:
    """Everything that the page shows about an account (None = all). `choose_period` makes it from now."""
    with store.begin(write=False) as tx:
        period = choose_period(tx.now)
    ledger = usage.read(store, conf, account, period.end, period.start)
    whole = report.from_ledger(store, conf, ledger, By.PIPELINE, period)
    lines = {By.PIPELINE: whole.lines} | {by: report.lines_by(store, conf, ledger, by, period, _MOST_LINES)
                                          for by in (By.ACCOUNT, By.EXECUTION)}
    accounts = {line.key: line.usage for line in lines[By.ACCOUNT] if line.usage.parts}
    tables = {by: each[:_MOST_LINES] for by, each in lines.items()}
    shown = [line.key for line in tables[By.EXECUTION] if line.key in ledger.executions]
    return CostsPage(
        ledger.now, replace(whole, lines=[]), tables, {by: len(each) for by, each in lines.items()},
        {key: ledger.executions[key] for key in shown},
        {"storage": charts.storage_over_time(ledger, period),
         "accounts": charts.cost_by_account(accounts, whole.currency),
         "expiry": charts.expiry(ledger)},
    )


def build(
    store: Store, conf: Settings, account: str | None, choose_period: Callable[[datetime], Period]
) -> str:
    """The page about an account (None = all), as HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from plotly.offline import get_plotlyjs

    found = gather(store, conf, account, choose_period)
    environment = Environment(loader=PackageLoader("nfresume.billing"), autoescape=True,
                              undefined=StrictUndefined)
    environment.filters.update(size=wording.size, money=wording.money, moment=wording.moment,
                               duration=wording.duration)
    return environment.get_template("costs.html").render(
        account=account, report=found.report, now=found.now, figures=found.figures,
        plotly=get_plotlyjs(), lines=_LINES, tables=found.tables, counts=found.counts,
        executions=found.executions,
    )
