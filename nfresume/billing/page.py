"""The cost report as one self-contained HTML file: it opens offline, and asks nobody for anything."""

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

#: Lines of each table; what is dearer comes first.
_LINES = 50


@dataclass(frozen=True)
class CostsPage:
    """What the page shows: a report by pipeline, lines by kind, and figures by name (see charts)."""

    known: Ledger
    report: Report
    tables: dict[By, list[Line]]
    figures: dict[str, charts.Figure]


def gather(
    store: Store, conf: Settings, account: str | None, chosen: Callable[[datetime], Period]
) -> CostsPage:
    """Everything that the page shows, of an account (None = all)."""
    with store.begin(write=False) as tx:
        asked = chosen(tx.now)
    known = usage.read(store, conf, account, asked.end)
    reports = {by: report.from_ledger(store, conf, known, by, asked)
               for by in (By.PIPELINE, By.ACCOUNT, By.EXECUTION)}
    accounts = {line.key: line.usage for line in reports[By.ACCOUNT].lines if line.usage.parts}
    return CostsPage(
        known, reports[By.PIPELINE], {by: each.lines for by, each in reports.items()},
        {"storage": charts.storage_over_time(known, asked),
         "accounts": charts.cost_by_account(accounts, reports[By.ACCOUNT].currency),
         "expiry": charts.expiry(known)},
    )


def build(
    store: Store, conf: Settings, account: str | None, chosen: Callable[[datetime], Period]
) -> str:
    """The page of an account (None = all)."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from plotly.offline import get_plotlyjs

    found = gather(store, conf, account, chosen)
    environment = Environment(loader=PackageLoader("nfresume.billing"), autoescape=True,
                              undefined=StrictUndefined)
    environment.filters.update(size=wording.size, money=wording.money, moment=wording.moment,
                               duration=wording.duration)
    return environment.get_template("costs.html").render(
        account=account, report=found.report, now=found.known.now, figures=found.figures,
        plotly=get_plotlyjs(), lines=_LINES, tables=found.tables, executions=found.known.executions,
    )
