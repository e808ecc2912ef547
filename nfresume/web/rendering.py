"""Pages from templates: everything that a user or a pipeline wrote is escaped, and shown as it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import humanize
from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from nfresume import __version__
from nfresume.people import User

_UNITS = (("d", 86_400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1))


def size(count: int | None) -> str:
    """Bytes for people."""
    return "-" if count is None else humanize.naturalsize(count, binary=True)


def duration(delta: timedelta | None) -> str:
    """A time span for people: its two largest units."""
    if delta is None:
        return "-"
    seconds = max(0, round(delta.total_seconds()))
    for unit, length, smaller, part in _UNITS:
        if seconds >= length:
            rest = seconds % length // part
            return f"{seconds // length} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{seconds} s"


def moment(value: datetime | None) -> str:
    """A UTC time."""
    return f"{value:%Y-%m-%d %H:%M:%S} UTC" if value else "-"


def left(value: datetime | None) -> str:
    """How long until a time."""
    return duration(value - datetime.now(UTC)) if value else "-"


def money(amount: Decimal | None, currency: str) -> str:
    """An amount of money."""
    if amount is None:
        return "-"
    if amount == 0 or amount >= Decimal("0.01"):
        return f"{amount:,.2f} {currency}"
    least = Decimal("0.000001")
    return f"{amount:.2g} {currency}" if amount >= least else f"less than {least} {currency}"


def visible(value: Any) -> Any:
    """Control characters as they are written in code: a log must not hide or fake anything.

    Every text that a template shows goes through here; what templates made themselves is left alone.
    """
    if not isinstance(value, str) or isinstance(value, Markup) or value.isprintable():
        return value
    return "".join(c if c in "\n\t" or c.isprintable() else f"\\x{ord(c):02x}" for c in value)


_environment = Environment(loader=PackageLoader("nfresume.web"), autoescape=True, undefined=StrictUndefined,
                           trim_blocks=True, lstrip_blocks=True, finalize=visible)
_environment.filters.update(size=size, duration=duration, moment=moment, left=left, money=money)


def page(
    request: Request, template: str, status: int = 200, *, user: User | None = None, account: str = "",
    csrf: str = "", **values: Any,
) -> HTMLResponse:
    """A page of the console."""
    text = _environment.get_template(template).render(
        user=user, account=account, csrf=csrf, version=__version__, path=request.url.path, status=status,
        **values,
    )
    return HTMLResponse(text, status)
