"""costs: what retained storage costs now, over a period, and until it expires."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nfresume.cli import options as common
from nfresume.cli.output import count, print_json, say
from nfresume.domain.wording import duration, money, printable, size

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal

    from nfresume.billing.aws_bill import Comparison
    from nfresume.billing.report import Report
    from nfresume.billing.reuse_value import ReuseValue
    from nfresume.domain.periods import Period

_BAR = 24


def costs(
    by: Annotated[str, typer.Option("--by", metavar="execution|account|pipeline|process|day",
                                    help="What each line of the report is about.")] = "execution",
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="30d", help="The last h(ours), d(ays) or w(eeks). Default: 30d."),
    ] = None,
    start: Annotated[str | None, typer.Option("--from", metavar="DATE", help="From this day, UTC.")] = None,
    end: Annotated[str | None, typer.Option("--to", metavar="DATE", help="Up to this day, UTC.")] = None,
    month: Annotated[str | None, typer.Option("--month", metavar="YYYY-MM", help="A calendar month.")] = None,
    all_accounts: Annotated[bool, typer.Option("--all-accounts", help="Report every account.")] = False,
    account: common.Account = None,
    bill: Annotated[
        bool, typer.Option("--bill", help="Also show what AWS billed for EFS storage, from Cost Explorer "
                           "(AWS charges 0.01 USD per request).")
    ] = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", dir_okay=False,
                                  help="Write a page with plots; it opens offline.")
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, for spreadsheets.")] = False,
    as_json: common.Json = False,
) -> None:
    """Show what retained storage costs: now, over a period, and until each work dir expires.

    The cost of a period is its usage (metered bytes integrated over time) times the price. Deleted work dirs
    are included.

    Example: nfresume costs --month 2026-10 --by pipeline --html costs.html
    """
    from nfresume.billing import as_json as documents
    from nfresume.billing.report import By
    from nfresume.domain.periods import period

    kind = common.chosen(By, by, "--by") or By.EXECUTION

    def chosen_period(now: datetime) -> Period:
        return period(now, since=since, start=start, end=end, month=month)

    with common.service(account) as service:
        report = service.costs(kind, chosen_period, all_accounts=all_accounts, notify=say)
        compared = service.bill(chosen_period) if bill else None
        if html is not None:
            _write_page(html, service.costs_page(chosen_period, all_accounts=all_accounts))
    if as_json:
        print_json({**documents.report(report), **({"bill": documents.bill(compared)} if compared else {})})
    elif as_csv:
        _print_csv(report)
    else:
        _print(report, compared)


def _write_page(file: Path, page: str) -> None:
    from nfresume.domain.errors import NotFound
    from nfresume.system import durable

    try:
        durable.write(file.absolute(), page.encode())
    except OSError as e:
        raise NotFound(f"cannot write {file}: {e.strerror}", "choose a folder you may write to") from None
    say(f"wrote {file} ({size(len(page.encode()))})")


def _print_csv(report: Report) -> None:
    from nfresume.billing import as_json

    sys.stdout.write(as_json.csv(report.by, report.lines, report.currency))


def _print(report: Report, compared: Comparison | None) -> None:
    from nfresume.billing import as_json

    paid = report.currency
    names = {"tasks": "the task cache", "environments": "environments"}
    cached = "".join(f" and {names[kind]} ({size(held)})" for kind, held in report.caches.items() if held)
    print(f"now         {size(report.metered)} metered in {count(report.work_dirs, 'work dir')}{cached}: "
          f"{money(report.per_month, paid)} a month")
    for name, metered in (("slim", report.slimmed), ("lean", report.emptied)):
        if metered:
            saved = money(report.saves(metered), paid)
            print(f"{name}        {size(metered)} more would be kept in full: {saved} a month")
    endless = report.without_expiry
    unlimited = f", and {count(endless, 'work dir')} without an expiry" if endless else ""
    print(f"to come     {money(report.until_expiry, paid)} until each has expired{unlimited}")
    others = "".join(f", {money(amount, c)}" for c, amount in as_json.other_currencies(report).items())
    print(f"period      {report.period.start:%Y-%m-%d %H:%M} to {report.period.end:%Y-%m-%d %H:%M} UTC: "
          f"{report.total.gb_months:.6g} GB-months, {money(report.total.cost(paid), paid)}{others}")
    print(f"price       {report.price.per_gb_month.normalize():f} {paid} per GB-month "
          f"({printable(report.price.source)})")
    for standing in report.budgets:
        print(printable(f"budget      {standing}, at the limit {standing.budget.when_full}"))
    if compared:
        _print_bill(compared)
    if report.lines:
        _print_table(report)


def _print_bill(compared: Comparison) -> None:
    bill, paid = compared.bill, compared.bill.currency
    estimated = ", partly estimated" if bill.estimated else ""
    print(f"billed      {money(bill.amount, paid)} for {bill.gb_months:.6g} GB-months of EFS in "
          f"{bill.region}, {bill.start} to {bill.end}{estimated}")
    print(f"            nfresume's usage costs {money(compared.usage.cost(paid), paid)} in these days; the "
          f"difference, {money(compared.difference, paid)}, is other data, other file systems, or rounding")


def _print_table(report: Report) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    has_value = any(line.reuse_value for line in report.lines)
    has_limit = any(line.reuse_value and line.reuse_value.break_even_hours is not None
                    for line in report.lines)
    suggests = has_limit and report.by == "pipeline"
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    headings = [str(report.by), "GB-months", "cost", "stored now", *["relaunch saves"] * has_value,
                *["break-even"] * has_limit, *["keep for"] * suggests, ""]
    for heading in headings:
        table.add_column(heading, justify="left" if heading in (headings[0], "") else "right")
    most = max(line.usage.cost(report.currency) for line in report.lines)
    for line in report.lines:
        cells = [f"{line.usage.gb_months:.6g}", money(line.usage.cost(report.currency), report.currency),
                 size(line.metered) if line.metered else "-"]
        value = line.reuse_value
        hours = value.break_even_hours if value else None
        cells += [_saves(value, report.currency) if value else "-"] * has_value
        cells += [f"{hours:,.1f} h" if hours is not None else "-"] * has_limit
        cells += [f"{value.suggested_hours:,} h" if value and hours is not None else "-"] * suggests
        table.add_row(Text(printable(line.key)), *cells, _bar(line.usage.cost(report.currency), most))
    Console(width=None if Console().is_terminal else 140).print(table)
    if has_value and not has_limit:
        say("set price_per_cpu_hour to see after how many hours keeping costs more than computing again")


def _saves(value: ReuseValue, currency: str) -> str:
    cost = f", {money(value.saved_cost, currency)}" if value.saved_cost is not None else ""
    return f"{duration(value.saves)}{cost}"


def _bar(cost: Decimal, most: Decimal) -> str:
    return "█" * max(1, round(_BAR * cost / most)) if most and cost else ""


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("costs")(costs)
