"""Plots as plain SVG: times along an axis, and filled curves. Pure; the templates write the text, escaped."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

#: The part of a window in which times are shown.
_LAST = 0.95
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800,
          604800)


def ticks(start: int, end: int, most: int = 8) -> list[tuple[float, datetime, str]]:
    """Round times of a window in ms since 1970: their place in percent, and their text in UTC.

    The end of the window has none: its text would be cut off.
    """
    seconds = (end - start) / 1000
    step = next((each for each in _STEPS if seconds / each <= most), max(_STEPS[-1], int(seconds / most)))
    at = -(-start // (step * 1000)) * step * 1000
    shape = "%H:%M:%S" if step < 60 else "%d %b %H:%M" if seconds > 86400 else "%H:%M"
    found: list[tuple[float, datetime, str]] = []
    while at <= start + (end - start) * _LAST and len(found) <= most:
        time = datetime.fromtimestamp(at / 1000, UTC)
        found.append((100 * (at - start) / (end - start), time, time.strftime(shape)))
        at += step * 1000
    return found


def area(values: Sequence[int], height: float) -> str:
    """The points of a filled curve: 1000 wide, `height` high."""
    top = max(values, default=0) or 1
    width = 1000 / max(1, len(values))
    points = [f"0,{height:g}"]
    for at, value in enumerate(values):
        y = height * (1 - value / top)
        points += [f"{at * width:.1f},{y:.1f}", f"{(at + 1) * width:.1f},{y:.1f}"]
    return " ".join([*points, f"1000,{height:g}"])
