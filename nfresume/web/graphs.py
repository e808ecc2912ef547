"""The graph of processes as plain SVG: where boxes and arrows go. Pure; the template writes the text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nfresume.nextflow.summary import Progress

#: The space between boxes, and around the picture.
ACROSS, DOWN, MARGIN = 22, 40, 14
HEIGHT = 62
#: So many processes are drawn, those with the most tasks.
MOST_BOXES = 120
#: The width of a capital letter of a name, about.
_LETTER = 9.6
Edges = Mapping[tuple[str, str], int]


@dataclass(frozen=True)
class Shape:
    """How wide a box is, and how many are beside each other at most."""

    width: int
    columns: int


#: For a screen, and for a phone.
WIDE, NARROW = Shape(214, 4), Shape(158, 2)


@dataclass(frozen=True)
class Node:
    """A process: where its box is, and how many tasks it has in each state."""

    row: Progress
    x: int
    y: int
    width: int

    @property
    def short(self) -> str:
        """The end of its name, without the workflows it is in."""
        name, most = self.row.process.rpartition(":")[2], int((self.width - 20) / _LETTER)
        return name if len(name) <= most else f"{name[:most - 1]}…"

    @property
    def note(self) -> str:
        """What matters most of those that are not simply done."""
        row = self.row
        for count, word in ((row.failed_for_good, "failed"), (row.running, "running"),
                            (row.aborted, "aborted"), (row.ignored, "ignored"), (row.cached, "reused")):
            if count:
                return f"{count} {word}"
        return ""

    @property
    def state(self) -> str:
        """The state of its box."""
        row = self.row
        if row.failed_for_good:
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


def graph(rows: Sequence[Progress], edges: Edges, shape: Shape = WIDE) -> Graph:
    """A layered picture, from the top down: a process stands below all whose files it uses."""
    shown = sorted(rows, key=lambda row: -row.total)[:MOST_BOXES]
    names = {row.process for row in shown}
    ordered = [row for row in rows if row.process in names]
    known = {pair: n for pair, n in edges.items() if pair[0] != pair[1] and names >= set(pair)}
    depth = _depths([row.process for row in ordered], known)
    layers: dict[int, list[str]] = {}
    for row in ordered:
        layers.setdefault(depth[row.process], []).append(row.process)
    columns = min(shape.columns, max(map(len, layers.values()), default=1))
    cells = _cells([layers[at] for at in sorted(layers)], known, columns)
    nodes = {row.process: Node(row, MARGIN + cells[row.process][1] * (shape.width + ACROSS),
                               MARGIN + cells[row.process][0] * (HEIGHT + DOWN), shape.width)
             for row in ordered}
    taken = set(cells.values())
    lines = tuple(Line(_path(nodes[a], nodes[b], cells[a], cells[b], taken), a, b, n)
                  for (a, b), n in known.items())
    return Graph(tuple(nodes.values()), lines,
                 max((n.x for n in nodes.values()), default=0) + shape.width + MARGIN,
                 max((n.y for n in nodes.values()), default=0) + HEIGHT + MARGIN, len(rows) - len(shown))


def _depths(names: Sequence[str], edges: Edges) -> dict[str, int]:
    """The layer of each process. An edge against the order of appearance in a circle is ignored.

    A process that uses no files of others stands just above the first one that uses its files.
    """
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
    for name in names:
        if not before[name]:
            found[name] = max(0, min((found[b] for a, b in edges if a == name), default=0) - 1)
    return found


def _cells(layers: Sequence[Sequence[str]], edges: Edges, columns: int) -> dict[str, tuple[int, int]]:
    """The row and column of each process. A layer with more than `columns` has several rows.

    Each comes as near as it can to the middle of those whose files it uses.
    """
    cells: dict[str, tuple[int, int]] = {}
    row = 0
    for layer in layers:
        wanted = {name: _middle(name, edges, cells, columns) for name in layer}
        for start in range(0, len(layer), columns):
            ordered = sorted(layer[start:start + columns], key=lambda name: wanted[name])
            least = 0
            for at, name in enumerate(ordered):
                most = columns - (len(ordered) - at)
                least = min(max(least, round(wanted[name])), most)
                cells[name] = (row, least)
                least += 1
            row += 1
    return cells


def _middle(name: str, edges: Edges, cells: Mapping[str, tuple[int, int]], columns: int) -> float:
    """The mean column of those whose files a process uses; the middle without any."""
    found = [cells[a][1] for a, b in edges if b == name and a in cells]
    return sum(found) / len(found) if found else (columns - 1) / 2


def _path(a: Node, b: Node, at: tuple[int, int], to: tuple[int, int], taken: set[tuple[int, int]]) -> str:
    """From the bottom of a box to the top of another one, past the boxes between them."""
    x, y, right, down = a.x + a.width // 2, a.y + HEIGHT, b.x + b.width // 2, b.y
    if to[0] <= at[0]:  # upward, in a circle: around the sides
        x, right, far = a.x + a.width, b.x + b.width, max(a.x, b.x) + a.width + ACROSS
        return f"M{x},{a.y + HEIGHT // 2} C{far},{a.y} {far},{b.y + HEIGHT} {right},{b.y + HEIGHT // 2}"
    bend = DOWN * 2 // 3
    if to[0] == at[0] + 1:
        return f"M{x},{y} C{x},{y + bend} {right},{down - bend} {right},{down}"
    between = range(at[0] + 1, to[0])
    if not any((row, to[1]) in taken for row in between):
        lane = right
    elif not any((row, at[1]) in taken for row in between):
        lane = x
    else:  # the gap beside the target, on the side of the source
        lane = b.x - ACROSS // 2 if at[1] < to[1] or to[1] == 0 else b.x + b.width + ACROSS // 2
    first, last = y + DOWN, down - DOWN
    return (f"M{x},{y} C{x},{y + bend} {lane},{first - bend} {lane},{first} L{lane},{last} "
            f"C{lane},{last + bend} {right},{down - bend} {right},{down}")


def merged(found: Sequence[Edges]) -> dict[tuple[str, str], int]:
    """The edges of several attempts; of each edge the largest count."""
    total: Counter[tuple[str, str]] = Counter()
    for edges in found:
        for pair, count in edges.items():
            total[pair] = max(total[pair], count)
    return dict(total)
