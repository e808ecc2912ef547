"""Plots as plain SVG: where boxes and lines go. Pure; the templates write the text, escaped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from nfresume.nextflow.summary import Progress

#: Size of a box of the graph, and the space between two.
WIDTH, HEIGHT, ACROSS, DOWN = 190, 54, 70, 18
#: So many processes are drawn, those with the most tasks.
MOST_BOXES = 120
#: The part of a window in which times are shown.
_LAST = 0.95
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800,
          604800)


@dataclass(frozen=True)
class Node:
    """A process: where its box is, and how many tasks it has in each state."""

    row: Progress
    x: int
    y: int

    @property
    def short(self) -> str:
        """The end of its name, without the workflows it is in."""
        name = self.row.process.rpartition(":")[2]
        return name if len(name) <= 22 else f"{name[:21]}…"

    @property
    def state(self) -> str:
        """The state of its box."""
        row = self.row
        if row.failed > row.retried + row.ignored:
            return "failed"
        if row.running:
            return "running"
        return "cached" if row.cached and not row.completed else "completed"


@dataclass(frozen=True)
class Line:
    """An arrow from a process to one that used its files, as the path of an SVG; `count` tasks did."""

    path: str
    source: str
    target: str
    count: int


@dataclass(frozen=True)
class Graph:
    """The boxes and arrows, and the size of the picture."""

    nodes: tuple[Node, ...]
    lines: tuple[Line, ...]
    width: int
    height: int
    left_out: int


def graph(rows: Sequence[Progress], edges: Mapping[tuple[str, str], int]) -> Graph:
    """A layered picture, from left to right: a process stands behind all whose files it uses."""
    shown = sorted(rows, key=lambda row: -row.total)[:MOST_BOXES]
    names = {row.process for row in shown}
    ordered = [row for row in rows if row.process in names]
    known = {pair: n for pair, n in edges.items() if pair[0] != pair[1] and names >= set(pair)}
    depth = _depths([row.process for row in ordered], known)
    columns: dict[int, list[Progress]] = {}
    for row in ordered:
        columns.setdefault(depth[row.process], []).append(row)
    places: dict[str, Node] = {}
    for at in sorted(columns):
        column = sorted(columns[at], key=lambda row: _middle(row.process, known, places))
        for number, row in enumerate(column):
            places[row.process] = Node(row, at * (WIDTH + ACROSS) + 4, number * (HEIGHT + DOWN) + 4)
    lines = tuple(Line(_curve(places[a], places[b]), a, b, n) for (a, b), n in known.items())
    return Graph(tuple(places.values()), lines, max((n.x for n in places.values()), default=0) + WIDTH + 8,
                 max((n.y for n in places.values()), default=0) + HEIGHT + 8, len(rows) - len(shown))


def _depths(names: Sequence[str], edges: Mapping[tuple[str, str], int]) -> dict[str, int]:
    """The column of each process. An edge against the order of appearance in a circle is ignored."""
    order = {name: at for at, name in enumerate(names)}
    before: dict[str, list[str]] = {name: [] for name in names}
    for source, target in edges:
        if order[source] < order[target] or (target, source) not in edges:
            before[target].append(source)
    found: dict[str, int] = dict.fromkeys(names, 0)
    for _ in names:  # at most so many rounds, also if there is a longer circle
        changed = False
        for name in names:
            depth = max((found[each] + 1 for each in before[name]), default=0)
            if depth > found[name] and depth < len(names):
                found[name], changed = depth, True
        if not changed:
            break
    return found


def _middle(name: str, edges: Mapping[tuple[str, str], int], places: Mapping[str, Node]) -> float:
    """The mean height of those whose files a process uses."""
    heights = [places[a].y for a, b in edges if b == name and a in places]
    return sum(heights) / len(heights) if heights else 0.0


def _curve(a: Node, b: Node) -> str:
    x, y, right, down = a.x + WIDTH, a.y + HEIGHT // 2, b.x, b.y + HEIGHT // 2
    bend = max(30, abs(right - x) // 2)
    return f"M{x},{y} C{x + bend},{y} {right - bend},{down} {right},{down}"


def merged(found: Sequence[Mapping[tuple[str, str], int]]) -> dict[tuple[str, str], int]:
    """The edges of several attempts; of each edge the largest count."""
    total: Counter[tuple[str, str]] = Counter()
    for edges in found:
        for pair, count in edges.items():
            total[pair] = max(total[pair], count)
    return dict(total)


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
