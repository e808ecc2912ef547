"""Output: nfresume's own lines on stderr, JSON on stdout, and how values are written for people."""

from __future__ import annotations

import contextlib
import json
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from nfresume.domain.wording import duration, money, printable, size

if TYPE_CHECKING:
    from nfresume.domain.costs import Price
    from nfresume.domain.executions import Execution
    from nfresume.storage.emptying import Total


def say(line: str) -> None:
    """Print one line of nfresume's own on stderr, control characters as escapes.

    Without a reader it is not printed: what the command does goes on.
    """
    _put(f"nfresume: {printable(line)}\n")


def _put(text: str) -> None:
    with contextlib.suppress(OSError):
        print(text, end="", file=sys.stderr, flush=True)


def print_json(document: Any) -> None:
    """Print a JSON document on stdout."""
    print(json.dumps(document, indent=2))


def hours(value: float) -> str:
    """Hours with their unit.

    >>> hours(48.0)
    '48 h'
    """
    return f"{value:g} h"


def when(moment: datetime | None) -> str:
    """A UTC time, followed by the time until then or since then; `-` for None."""
    if moment is None:
        return "-"
    left = moment - datetime.now(UTC)
    rounded = left + timedelta(seconds=30 if left > timedelta(hours=1) else 0.5)
    tail = f"in {duration(rounded)}" if left > timedelta() else f"{duration(-left)} ago"
    return f"{moment:%Y-%m-%d %H:%M} UTC ({tail})"


def count(number: int, noun: str, nouns: str | None = None) -> str:
    """A number and its noun: `1 file`, `2 files`. `nouns` is an irregular plural."""
    return f"{number:,} {noun if number == 1 else nouns or f'{noun}s'}"


def work_dir_line(execution: Execution, price: Price) -> str:
    """The state of the work dir in one line: why deleted, or until when kept, its size and monthly cost."""
    from nfresume.domain.costs import cost_per_month
    from nfresume.domain.workdirs import WorkDirState

    w = execution.work_dir
    if w.state is WorkDirState.DELETED:
        return f"work dir deleted ({w.reason})"
    if w.state is WorkDirState.DELETING:
        left = w.removal.remaining_files(w.files) if w.removal else None
        gone = f": {count(w.removal.files, 'file')} gone" if w.removal else ""
        line = f"work dir is being deleted ({w.reason}){gone}" + (f", {left:,} left" if left else "")
        return f"{line}; {w.removal.obstacle}" if w.removal and w.removal.obstacle else line
    if w.state is WorkDirState.ACTIVE:
        return "work dir in use"
    kept = "work dir kept "
    if w.pinned:
        kept += "until it is unpinned"
    elif w.expires_at is not None:
        kept += f"until {when(w.expires_at)}"
        if w.look_again_at is not None:
            kept += f" (a deletion was given up: {w.reason})"
    elif w.look_again_at is not None:
        kept += f"although it is due: {w.reason}; a deletion is tried again {when(w.look_again_at)}"
    else:
        kept += f"until you decide: {w.reason}"
    if w.metered_bytes is not None:
        cost = money(cost_per_month(w.metered_bytes, price.per_gb_month), price.currency)
        least = "at least " if w.partial else ""
        kept += f"; {least}{size(w.bytes)} in {count(w.files or 0, 'file')}, {cost} a month"
    return kept


def emptied_line(total: Total, price: Price) -> str:
    """What lean retention saves of a work dir, and what that may cost, in one line."""
    from nfresume.domain.costs import cost_per_month

    saved = money(cost_per_month(total.metered, price.per_gb_month), price.currency)
    return (f"lean: {count(total.files, 'file')}, {size(total.bytes)}, keep no content, which saves {saved} "
            f"a month; a relaunch that needs them makes up to {count(total.tasks, 'task')} again, which took "
            f"{duration(timedelta(seconds=total.seconds))}")


_progress_shown = ""


def progress_line(line: str) -> None:
    """Print a line over the previous one on a terminal.

    Where stderr is not a terminal, only lines without a colon (names of stages) are printed, each once.
    """
    global _progress_shown
    if sys.stderr.isatty():
        _put(f"\r\x1b[Knfresume: {line}")
        _progress_shown = line
    elif ":" not in line and line != _progress_shown:
        say(line)
        _progress_shown = line


def end_progress() -> None:
    """Clear the last progress line."""
    if _progress_shown and sys.stderr.isatty():
        _put("\r\x1b[K")
