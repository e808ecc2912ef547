"""Sizes, times, money and untrusted texts, formatted for a terminal or a page. Pure."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from decimal import Decimal

_UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
_LEAST = Decimal("0.000001")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_UNSENDABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_RETURN = re.compile(r"\r+\n?")


def plain(text: str) -> str:
    r"""`text` without colours; what a progress bar has overwritten is a line of its own.

    >>> plain("\x1b[31m10%\r20%\r\n\x1b[0m")
    '10%\n20%\n'
    """
    return _RETURN.sub("\n", _COLOUR.sub("", text))


def printable(text: str, keep: str = "\t") -> str:
    """`text` with its control characters escaped, except those in `keep`.

    A log or a file name must not control the terminal, and must not hide or fake anything.
    """
    if text.isprintable():
        return text
    return "".join(c if c in keep or c.isprintable() else _visible(c) for c in text)


def sendable(text: str) -> str:
    r"""`text` as a form can hold it and send it back: only control characters and surrogates are escapes.

    >>> sendable("a\u3000b\u200d\x1b")
    'a\u3000b\u200d\\x1b'
    """
    return _UNSENDABLE.sub(lambda found: _visible(found[0]), text)


def _visible(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")


def size(count: int | None) -> str:
    """A number of bytes, in binary units: `1.5 MiB`; `-` for None."""
    import humanize

    return "-" if count is None else humanize.naturalsize(count, binary=True)


def duration(delta: timedelta | None) -> str:
    """A time span in at most two neighbouring units; `-` for None.

    >>> duration(timedelta(hours=26, seconds=5))
    '1 d 2 h'
    """
    if delta is None:
        return "-"
    seconds = max(0, int(delta.total_seconds()))
    for at, (unit, length) in enumerate(_UNITS):
        count, rest = divmod(seconds, length)
        if count:
            smaller, size_ = _UNITS[min(at + 1, 3)]
            more = rest // size_ if at < 3 else 0
            return f"{count} {unit} {more} {smaller}" if more else f"{count} {unit}"
    return "0 s"


def money(amount: Decimal | None, currency: str) -> str:
    """An amount of money with two decimals; below 0.01 with two significant digits. `-` for None."""
    if amount is None:
        return "-"
    if amount == 0 or abs(amount) >= Decimal("0.01"):
        return f"{amount:,.2f} {currency}"
    return f"{amount:.2g} {currency}" if abs(amount) >= _LEAST else f"less than {_LEAST} {currency}"


def cents(amount: Decimal | None, currency: str) -> str:
    """An amount of money for a page: at least one cent. `-` for None.

    >>> [cents(Decimal(text), "USD") for text in ("0", "0.000001", "0.01", "1234.5")]
    ['0.00 USD', 'under 0.01 USD', '0.01 USD', '1,234.50 USD']
    """
    return f"under 0.01 {currency}" if amount and 0 < amount < Decimal("0.01") else money(amount, currency)


def moment(value: datetime | None) -> str:
    """A UTC time, to the second; `-` for None."""
    return f"{value:%Y-%m-%d %H:%M:%S} UTC" if value else "-"
