"""The cost report as one self-contained HTML file. It opens offline and loads nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from nfresume.billing import charts, report, usage
from nfresume.billing.report import By, Line, Report
from nfresume.billing.usage import Ledger
from nfresume.domain import wording
from nfresume.domain.periods import Period
from nfresume.settings import Settings
from nfresume.store import Store

#: How many lines each table shows, the most expensive first.
_LINES = 50


@dataclass(frozen=True)
class CostsPage:
    """What the page shows: the report by pipeline, the lines of each grouping, and plotly figures by name."""

    ledger: Ledger
    report: Report
    tables: dict[By, list[Line]]
    figures: dict[str, charts.Figure]


def gather(
    store: Store, conf: Settings, account: str | None, choose_period: Callable[[datetime], Period]
) -> CostsPage:
    """Everything that the page shows about an account (None = all). `choose_period` makes it from now."""
    with store.begin(write=False) as tx:
        period = choose_period(tx.now)
    ledger = usage.read(store, conf, account, period.end)
    reports = {by: report.from_ledger(store, conf, ledger, by, period)
               for by in (By.PIPELINE, By.ACCOUNT, By.EXECUTION)}
    accounts = {line.key: line.usage for line in reports[By.ACCOUNT].lines if line.usage.parts}
    return CostsPage(
        ledger, reports[By.PIPELINE], {by: each.lines for by, each in reports.items()},
        {"storage": charts.storage_over_time(ledger, period),
         "accounts": charts.cost_by_account(accounts, reports[By.ACCOUNT].currency),
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
        account=account, report=found.report, now=found.ledger.now, figures=found.figures,
        plotly=get_plotlyjs(), lines=_LINES, tables=found.tables, executions=found.ledger.executions,
    )
