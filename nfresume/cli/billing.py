"""costs: what retained storage costs, by whom, and until when."""

from __future__ import annotations

import csv
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nfresume.cli import options as common
from nfresume.cli.output import count, duration, money, print_json, printable, size

if TYPE_CHECKING:
    from nfresume.reporting import Line, Report

_BAR = 24


def costs(
    by: Annotated[str, typer.Option("--by", metavar="execution|account|pipeline|process|day",
                                    help="What a line is.")] = "execution",
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="30d", help="The last h(ours), d(ays) or w(eeks). Default: 30d."),
    ] = None,
    start: Annotated[str | None, typer.Option("--from", metavar="DATE", help="From this day, UTC.")] = None,
    end: Annotated[str | None, typer.Option("--to", metavar="DATE", help="Up to this day, UTC.")] = None,
    month: Annotated[str | None, typer.Option("--month", metavar="YYYY-MM", help="A calendar month.")] = None,
    all_accounts: Annotated[bool, typer.Option("--all-accounts", help="Of every account.")] = False,
    account: common.Account = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, for spreadsheets.")] = False,
    as_json: common.Json = False,
) -> None:
    """What keeping work dirs costs: now, over a period, and until each has expired.

    The ledger integrates metered bytes over time; a work dir that was deleted keeps its history.

    Example: nfresume costs --month 2026-10 --by pipeline
    """
    from nfresume.reporting import By, period

    kind = common.chosen(By, by, "--by") or By.EXECUTION
    with common.service(account) as service:
        report = service.costs(
            kind, lambda now: period(now, since=since, start=start, end=end, month=month),
            all_accounts=all_accounts,
        )
    if as_json:
        print_json(_as_json(report))
    elif as_csv:
        _print_csv(report)
    else:
        _print(report)


def _as_json(report: Report) -> dict[str, Any]:
    from nfresume import views

    return {
        "from": views.time(report.period.start), "to": views.time(report.period.end), "currency": "USD",
        "price_per_gb_month": str(report.price),
        "now": {
            "metered_bytes": report.metered, "work_dirs": report.work_dirs,
            "cost_per_month": _digits(report.per_month),
            "cost_until_expiry": _digits(report.until_expiry), "without_expiry": report.endless,
        },
        "total": _used(report.total),
        "by": str(report.by),
        "lines": [
            {"key": line.key, "metered_bytes_now": line.metered, **_used(line.usage),
             "relaunch_saves_seconds": line.saves.total_seconds() if line.saves is not None else None,
             "break_even_hours": float(line.break_even_hours) if line.break_even_hours is not None else None}
            for line in report.lines
        ],
    }


def _used(usage: Any) -> dict[str, str]:
    """Money and GB-months as decimal texts: a float would round them."""
    return {"gb_hours": _digits(usage.gb_hours), "gb_months": _digits(usage.gb_months),
            "cost": _digits(usage.cost)}


def _digits(value: Any) -> str:
    return f"{value:.9f}"


def _print_csv(report: Report) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([str(report.by), "gb_hours", "gb_months", "cost_usd", "metered_bytes_now"])
    for line in report.lines:
        used = _used(line.usage)
        writer.writerow([line.key, used["gb_hours"], used["gb_months"], used["cost"], line.metered])


def _print(report: Report) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    print(f"now         {size(report.metered)} metered in {count(report.work_dirs, 'work dir')}: "
          f"{money(report.per_month)} a month at {report.price} USD per GB-month")
    endless = f", and {count(report.endless, 'work dir')} without an expiry" if report.endless else ""
    print(f"to come     {money(report.until_expiry)} until each has expired{endless}")
    print(f"period      {report.period.start:%Y-%m-%d %H:%M} to {report.period.end:%Y-%m-%d %H:%M} UTC: "
          f"{report.total.gb_months:.6g} GB-months, {money(report.total.cost)}")
    if not report.lines:
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in (str(report.by), "GB-months", "cost", "held now", "relaunch saves", "break-even", ""):
        if report.by == "execution" or heading not in ("relaunch saves", "break-even"):
            table.add_column(heading, justify="left" if heading in (str(report.by), "") else "right")
    most = max(line.usage.cost for line in report.lines)
    for line in report.lines:
        cells = [f"{line.usage.gb_months:.6g}", money(line.usage.cost),
                 size(line.metered) if line.metered else "-"]
        if report.by == "execution":
            cells += [duration(line.saves) if line.saves is not None else "-",
                      f"{line.break_even_hours:,.1f} h" if line.break_even_hours is not None else "-"]
        table.add_row(Text(printable(line.key)), *cells, _bar(line, most))
    Console(width=None if Console().is_terminal else 140).print(table)


def _bar(line: Line, most: Any) -> str:
    return "█" * max(1, round(_BAR * line.usage.cost / most)) if most and line.usage.cost else ""


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("costs")(costs)
