"""The cost report as JSON documents, the same for terminal and web. Money is decimal text."""

from __future__ import annotations

import io
from collections.abc import Iterable
from csv import writer as csv_writer
from decimal import Decimal
from typing import Any

from nfresume.billing.aws_bill import Comparison
from nfresume.billing.report import By, Line, Report
from nfresume.billing.reuse_value import ReuseValue
from nfresume.domain import views
from nfresume.domain.costs import Usage

#: OWASP's list of beginnings, "CSV Injection".
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def report(report: Report) -> dict[str, Any]:
    """A report with its lines. Money is in the report's currency."""
    return {
        "from": views.time(report.period.start), "to": views.time(report.period.end),
        "currency": report.currency,
        "price_per_gb_month": str(report.price.per_gb_month), "price_source": report.price.source,
        "now": {
            "metered_bytes": report.metered, "work_dirs": report.work_dirs,
            "task_cache_metered_bytes": report.caches["tasks"],
            "environments_metered_bytes": report.caches["environments"],
            "cost_per_month": _digits(report.per_month), "emptied_metered_bytes": report.emptied,
            "emptied_saves_per_month": _digits(report.saves(report.emptied)),
            "slimmed_metered_bytes": report.slimmed,
            "slimmed_saves_per_month": _digits(report.saves(report.slimmed)),
            "cost_until_expiry": _digits(report.until_expiry), "without_expiry": report.without_expiry,
        },
        "total": {**used(report.total, report.currency),
                  "other_currencies": {c: _digits(a) for c, a in other_currencies(report).items()}},
        "budgets": [{"budget": s.name, "limits": s.budget.limits(), "share": round(s.share, 6),
                     "when_full": str(s.budget.when_full)} for s in report.budgets],
        "by": str(report.by),
        "lines": [{"key": line.key, "metered_bytes_now": line.metered, **used(line.usage, report.currency),
                   **reuse_value(line.reuse_value)} for line in report.lines],
    }


def csv(by: By, lines: Iterable[Line], currency: str) -> str:
    """The lines of a report as CSV, for spreadsheets, which take a text that begins so for a formula."""
    file = io.StringIO()
    writer = csv_writer(file, lineterminator="\n")
    writer.writerow([str(by), "gb_hours", "gb_months", "cost", "currency", "metered_bytes_now",
                     *reuse_value(None)])
    for line in lines:
        each = used(line.usage, currency)
        key = f"'{line.key}" if line.key.startswith(_FORMULA) else line.key
        writer.writerow([key, each["gb_hours"], each["gb_months"], each["cost"], currency, line.metered,
                         *reuse_value(line.reuse_value).values()])
    return file.getvalue()


def bill(compared: Comparison) -> dict[str, Any]:
    """What AWS billed, beside nfresume's own usage."""
    billed = compared.bill
    return {
        "from": billed.start.isoformat(), "to": billed.end.isoformat(), "region": billed.region,
        "currency": billed.currency, "billed": _digits(billed.amount),
        "billed_gb_months": _digits(billed.gb_months),
        "ledger": _digits(compared.usage.cost(billed.currency)),
        "ledger_gb_months": _digits(compared.usage.gb_months),
        "difference": _digits(compared.difference), "estimated": billed.estimated,
    }


def used(usage: Usage, currency: str) -> dict[str, str]:
    """GB-hours, GB-months and cost as decimal texts, because a float would round them."""
    return {"gb_hours": _digits(usage.gb_hours), "gb_months": _digits(usage.gb_months),
            "cost": _digits(usage.cost(currency))}


def reuse_value(value: ReuseValue | None) -> dict[str, Any]:
    """What a relaunch saves. Every value is None where that is unknown."""
    saved = value.saved_cost if value else None
    hours = value.break_even_hours if value else None
    return {
        "relaunch_saves_seconds": value.saves.total_seconds() if value else None,
        "relaunch_saves_cost": _digits(saved) if saved is not None else None,
        "break_even_hours": float(hours) if hours is not None else None,
        "suggested_storage_expiration_hours": value.suggested_hours if value else None,
    }


def other_currencies(report: Report) -> dict[str, Decimal]:
    """The costs in other currencies than the report's, by currency."""
    return {c: amount for c, amount in sorted(report.total.costs.items()) if c != report.currency}


def _digits(value: Decimal) -> str:
    return f"{value:.9f}"
