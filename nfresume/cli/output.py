"""How things look: lines on stderr, tables and JSON on stdout, control characters made visible."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nfresume.costs import Price
    from nfresume.executions import Execution


def say(line: str) -> None:
    """One line of nfresume's own, on stderr."""
    print(f"nfresume: {printable(line)}", file=sys.stderr, flush=True)


def print_json(document: Any) -> None:
    """A JSON document on stdout."""
    print(json.dumps(document, indent=2))


def printable(text: str) -> str:
    """Control characters made visible: a log or a file name must not drive the terminal."""
    return "".join(c if c == "\t" or c.isprintable() else _visible(c) for c in text)


def _visible(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")


def size(count: int | None) -> str:
    """Bytes for people."""
    import humanize

    return "-" if count is None else humanize.naturalsize(count, binary=True)


def duration(delta: timedelta) -> str:
    """A time span for people: two neighbouring units at most.

    >>> duration(timedelta(hours=26, seconds=5))
    '1 d 2 h'
    """
    seconds = max(0, int(delta.total_seconds()))
    units = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
    for at, (unit, length) in enumerate(units):
        count, rest = divmod(seconds, length)
        if count:
            smaller, size_ = units[min(at + 1, 3)]
            more = rest // size_ if at < 3 else 0
            return f"{count} {unit} {more} {smaller}" if more else f"{count} {unit}"
    return "0 s"


def hours(value: float) -> str:
    """Hours for people.

    >>> hours(48.0)
    '48 h'
    """
    return f"{value:g} h"


def when(moment: datetime | None) -> str:
    """A UTC time with the time left or passed."""
    if moment is None:
        return "-"
    left = moment - datetime.now(UTC)
    tail = f"in {duration(left + timedelta(seconds=30))}" if left > timedelta() else f"{duration(-left)} ago"
    return f"{moment:%Y-%m-%d %H:%M} UTC ({tail})"


def money(amount: Decimal, currency: str) -> str:
    """An amount of money: cents, or enough digits to see something."""
    if amount == 0 or abs(amount) >= Decimal("0.01"):
        return f"{amount:,.2f} {currency}"
    least = Decimal("0.000001")
    return f"{amount:.2g} {currency}" if abs(amount) >= least else f"less than {least} {currency}"


def count(number: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def work_dir_line(execution: Execution, price: Price) -> str:
    """What became of the work dir, in one line."""
    from nfresume.costs import cost_per_month
    from nfresume.workdirs import WorkDirState

    w = execution.work_dir
    if w.state is WorkDirState.DELETED:
        return f"work dir deleted ({w.reason})"
    if w.state is WorkDirState.DELETING:
        left = w.removal.remaining_files(w.files) if w.removal else None
        gone = f": {count(w.removal.files, 'file')} gone" if w.removal else ""
        return f"work dir is being deleted ({w.reason}){gone}" + (f", {left:,} left" if left else "")
    if w.state is WorkDirState.ACTIVE:
        return "work dir in use"
    kept = "work dir kept "
    if w.pinned:
        kept += "until it is unpinned"
    elif w.expires_at is not None:
        kept += f"until {when(w.expires_at)}"
    else:
        kept += f"until you decide: {w.reason}"
    if w.metered_bytes is not None:
        cost = money(cost_per_month(w.metered_bytes, price.per_gb_month), price.currency)
        least = "at least " if w.partial else ""
        kept += f"; {least}{size(w.bytes)} in {count(w.files or 0, 'file')}, {cost} a month"
    return kept


_progress_shown = ""


def progress_line(line: str) -> None:
    """One line that replaces itself on a terminal; a pipe gets each new stage once."""
    global _progress_shown
    if sys.stderr.isatty():
        print(f"\r\x1b[Knfresume: {line}", end="", file=sys.stderr, flush=True)
        _progress_shown = line
    elif ":" not in line and line != _progress_shown:
        say(line)
        _progress_shown = line


def end_progress() -> None:
    """Take the last progress line away."""
    if _progress_shown and sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
