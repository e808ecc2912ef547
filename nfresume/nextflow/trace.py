"""Nextflow's trace file: what each task took. Columns are found by name; others are ignored."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|d|h|m|s)")


@dataclass(frozen=True)
class TraceRow:
    """One task: `status` is COMPLETED, CACHED, FAILED or ABORTED; `realtime` its own run time."""

    hash: str
    name: str
    status: str
    realtime: timedelta


def parse_duration(text: str) -> timedelta:
    """Nextflow's `1h 2m 3s`, `1.1s`, `15ms`, raw milliseconds, or `-` (zero).

    >>> parse_duration("1h 2m").total_seconds()
    3720.0
    """
    if text.isdigit():
        return timedelta(milliseconds=int(text))
    return timedelta(seconds=sum(float(n) * _UNITS[u] for n, u in _PART.findall(text)))


def rows(path: Path) -> Iterator[TraceRow]:
    """Rows of a trace, finished lines only; an absent or foreign file yields nothing."""
    try:
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
                if row.get("hash") and row.get("status") and None not in row:
                    yield TraceRow(row["hash"], row.get("name") or "", row["status"],
                                   parse_duration(row.get("realtime") or ""))
    except FileNotFoundError:
        return


def reused(path: Path) -> timedelta:
    """Task time that `-resume` saved: the sum over cached tasks."""
    return sum((r.realtime for r in rows(path) if r.status == "CACHED"), timedelta())
