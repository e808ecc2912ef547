"""How things look: lines on stderr, tables and JSON on stdout, control characters made visible."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from nfresume.domain.wording import duration, money, printable, size

if TYPE_CHECKING:
    from nfresume.domain.costs import Price
    from nfresume.domain.executions import Execution


def say(line: str) -> None:
    """One line of nfresume's own, on stderr."""
    print(f"nfresume: {printable(line)}", file=sys.stderr, flush=True)


def print_json(document: Any) -> None:
    """A JSON document on stdout."""
    print(json.dumps(document, indent=2))


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


def count(number: int, noun: str, nouns: str | None = None) -> str:
    """`1 file`, `2 files`; `nouns` is a plural that has no mere s."""
    return f"{number:,} {noun if number == 1 else nouns or f'{noun}s'}"


def work_dir_line(execution: Execution, price: Price) -> str:
    """What became of the work dir, in one line."""
    from nfresume.domain.costs import cost_per_month
    from nfresume.domain.workdirs import WorkDirState

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
