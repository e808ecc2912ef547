"""Figures of an attempt's tasks: a timeline by process, durations by process, who uses whose files.

They are computed from the index of a record, and kept until the record has changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, TypeVar, cast

from nfresume.runs.task_index import TaskIndex

Result = TypeVar("Result")
#: With more tasks in its window a timeline has how many run at a time, not each of them.
MOST_BARS = 2000
#: So many intervals such a timeline has.
BINS = 200
#: A figure of more tasks than this is only made anew when so many more lines of the record were read.
_LARGE = 20_000
_WINDOW = """ FROM task WHERE begun IS NOT NULL AND begun < ?2 AND coalesce(ended, ?3) >= ?1
AND (?4 = '' OR process = ?4) """
#: What `boxes` shows, by name.
_FINISHED = " FROM task WHERE state IN ('completed', 'cached') "
_VALUES = {"took": f"SELECT process, took {_FINISHED} AND took > 0 ORDER BY process, took",
           "memory": f"SELECT process, memory {_FINISHED} AND memory > 0 ORDER BY process, memory"}


@dataclass(frozen=True)
class Bar:
    """One task: when it began and ended, in ms since 1970, and in which row of its process it is drawn."""

    n: int
    name: str
    state: str
    begun: int
    ended: int
    row: int


@dataclass
class Lane:
    """The tasks of a process in a window: each of them, or (`running`) how many ran in each interval."""

    process: str
    total: int
    bars: list[Bar] = field(default_factory=list)
    running: list[int] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return 1 + max((bar.row for bar in self.bars), default=0)


@dataclass(frozen=True)
class Timeline:
    """`first` to `last` are the times of all tasks, `start` to `end` are the window, in ms since 1970."""

    first: int
    last: int
    start: int
    end: int
    lanes: tuple[Lane, ...]
    total: int


@dataclass(frozen=True)
class Box:
    """The least value, the quartiles and the largest value of the tasks of a process, and their sum."""

    process: str
    count: int
    values: tuple[int, int, int, int, int]
    total: int


def _kept(index: TaskIndex, name: str, make: Callable[[], Result]) -> Result:
    """A figure, made anew when the record has changed."""
    large = sum(row.total for row in index.summary.processes.values()) > _LARGE
    version, found = index.figures.get(name, (-1, None))
    if version < 0 or index.version - version > (20 if large and not index.summary.finished else 0):
        found = make()
        if len(index.figures) > 50:
            index.figures.clear()
        index.figures[name] = index.version, found
    return cast("Result", found)


def timeline(
    index: TaskIndex, now: int, start: int | None = None, end: int | None = None, process: str = ""
) -> Timeline | None:
    """The timeline of a window (default: everything); None before any task has begun.

    `now`, in ms, is the end of tasks without one: they run, or their attempt ended then and aborted them.
    """
    return _kept(index, f"timeline {start} {end} {process}",
                 lambda: _timeline(index, now, start, end, process))


def _timeline(
    index: TaskIndex, now: int, start: int | None, end: int | None, process: str
) -> Timeline | None:
    first, last, unended = index.database.execute(
        "SELECT min(begun), max(ended), sum(begun IS NOT NULL AND ended IS NULL) FROM task").fetchone()
    if first is None:
        return None
    last = max(first + 1, last or 0, now if unended or last is None else 0)
    begin = first if start is None else min(max(start, first), last - 1)
    until = max(begin + 1, last if end is None else min(end, last))
    window = (begin, until, last, process)
    total = index.database.execute(f"SELECT count(*) {_WINDOW}", window).fetchone()[0]
    lanes = _bars(index, window) if total <= MOST_BARS else _running(index, window)
    order = {name: at for at, name in enumerate(index.summary.processes)}
    lanes.sort(key=lambda lane: order.get(lane.process, 0))
    return Timeline(first, last, begin, until, tuple(lanes), total)


def _bars(index: TaskIndex, window: tuple[int, int, int, str]) -> list[Lane]:
    rows = index.database.execute(
        f"SELECT process, n, name, state, begun, coalesce(ended, ?3) {_WINDOW} ORDER BY process, begun",
        window)
    lanes = []
    for process, group in groupby(rows, key=lambda row: row[0]):
        ends: list[int] = []  # of each row
        bars = []
        for _, n, name, state, begun, ended in group:
            row = next((at for at, free in enumerate(ends) if free <= begun), len(ends))
            if row == len(ends):
                ends.append(0)
            ends[row] = max(ended, begun + 1)
            bars.append(Bar(n, name, state, begun, ends[row], row))
        lanes.append(Lane(process, len(bars), bars))
    return lanes


def _running(index: TaskIndex, window: tuple[int, int, int, str]) -> list[Lane]:
    start, end, *_ = window
    width = max(1, -(-(end - start) // BINS))
    changes: dict[str, list[int]] = {}
    totals: Counter[str] = Counter()
    for column, step in (("max(begun, ?1)", 1), ("min(coalesce(ended, ?3), ?2)", -1)):
        query = f"SELECT process, ({column} - ?1) / {width}, count(*) {_WINDOW} GROUP BY 1, 2"
        for name, at, count in index.database.execute(query, window):
            mine = changes.setdefault(name, [0] * (BINS + 2))
            mine[min(BINS, int(at)) + (step < 0)] += step * count  # it still runs in the interval of its end
            totals[name] += count if step > 0 else 0
    return [Lane(name, totals[name], [], _sums(mine)) for name, mine in changes.items()]


def _sums(changes: Iterable[int]) -> list[int]:
    found, total = [], 0
    for change in changes:
        total += change
        found.append(total)
    return found[:BINS]


def boxes(index: TaskIndex, column: str = "took") -> list[Box]:
    """The durations in ms (`took`) or peaks of memory in bytes (`memory`) of finished tasks, by process."""
    return _kept(index, f"boxes {column}", lambda: _boxes(index, column))


def _boxes(index: TaskIndex, column: str) -> list[Box]:
    rows = index.database.execute(_VALUES[column])
    found = {}
    for process, group in groupby(rows, key=lambda row: row[0]):
        values = [value for _, value in group]
        last = len(values) - 1
        found[process] = Box(process, len(values), cast("Any", tuple(
            values[round(last * part / 4)] for part in range(5))), sum(values))
    return [found[name] for name in index.summary.processes if name in found]
