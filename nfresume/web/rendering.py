"""Renders pages from templates. All text is HTML-escaped, and control characters are made visible."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from nfresume import __version__
from nfresume.domain import headline, wording
from nfresume.domain.people import User


def left(value: datetime | None) -> str:
    """How long it is until a time; `-` for None."""
    return wording.duration(value - datetime.now(UTC)) if value else "-"


def ago(value: datetime) -> str:
    """How long it is since a time."""
    return wording.duration(datetime.now(UTC) - value)


def milliseconds(value: int | timedelta) -> str:
    """A time span, of so many milliseconds if it is a number."""
    if isinstance(value, timedelta):
        value = value // timedelta(milliseconds=1)
    value = max(0, value)  # the clocks of two hosts may differ
    if value < 1000:
        return f"{value} ms"
    return f"{value / 1000:.1f} s" if value < 10_000 else wording.duration(timedelta(milliseconds=value))


def visible(value: Any) -> Any:
    r"""Write control characters as escapes such as \x1b, so that a log cannot hide or fake text.

    Colours are left out, and what a progress bar has overwritten is a line of its own. The templates apply
    this to every value that they print, except to Markup. `console.js` does the same to the tail of a log.
    """
    if not isinstance(value, str) or isinstance(value, Markup) or value.isprintable():
        return value
    return wording.printable(wording.plain(value), keep="\n\t")


def breaks(name: str) -> Markup:
    """The name of a task or process, which may go on in the next line after each of its colons."""
    return Markup(":<wbr>").join(visible(name).split(":"))


def field(value: Any) -> Markup:
    """A value of a form's field, exactly as the form shall send it back."""
    return escape(wording.sendable(str(value)))


_environment = Environment(loader=PackageLoader("nfresume.web"), autoescape=True, undefined=StrictUndefined,
                           trim_blocks=True, lstrip_blocks=True, finalize=visible)
_environment.filters.update(size=wording.size, duration=wording.duration, moment=wording.moment, left=left,
                            ago=ago, ms=milliseconds, money=wording.cents, breaks=breaks, field=field,
                            telling=headline.telling)


def page(
    request: Request, template: str, status: int = 200, *, user: User | None = None, account: str = "",
    csrf: str = "", **values: Any,
) -> HTMLResponse:
    """Render a page of the console; `values` are the variables of the template."""
    text = _environment.get_template(template).render(
        user=user, account=account, csrf=csrf, version=__version__, path=request.url.path, status=status,
        **values,
    )
    return HTMLResponse(text, status)
