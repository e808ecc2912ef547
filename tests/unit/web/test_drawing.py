"""Where boxes and lines of plots go."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nfresume.nextflow.summary import Progress
from nfresume.web import drawing


def rows(*names: str) -> list[Progress]:
    return [Progress(name, completed=1) for name in names]


def test_a_process_stands_behind_those_it_uses():
    """From left to right by the files that are used; loops to the process itself are not drawn."""
    made = drawing.graph(rows("A", "B", "C", "D"), {
        ("A", "B"): 2, ("B", "C"): 1, ("A", "C"): 1, ("C", "C"): 3})
    at = {node.row.process: node.x for node in made.nodes}
    assert at["A"] < at["B"] < at["C"]
    assert at["D"] == at["A"]
    assert {(line.source, line.target, line.count) for line in made.lines} == {
        ("A", "B", 2), ("B", "C", 1), ("A", "C", 1)}


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=30))
def test_every_graph_has_a_picture(pairs):
    """Circles too: each process has a place of its own inside the picture."""
    names = [f"P{n}" for n in range(8)]
    made = drawing.graph(rows(*names), {(f"P{a}", f"P{b}"): 1 for a, b in pairs})
    places = {(node.x, node.y) for node in made.nodes}
    assert len(places) == 8
    assert all(node.x + drawing.WIDTH <= made.width and node.y + drawing.HEIGHT <= made.height
               for node in made.nodes)


def test_many_processes_are_left_out():
    """The picture has those with the most tasks."""
    many = [Progress(f"P{n}", completed=n) for n in range(200)]
    made = drawing.graph(many, {})
    assert (len(made.nodes), made.left_out) == (120, 80)
    assert "P0" not in {node.row.process for node in made.nodes}


@given(st.integers(0, 2**41), st.integers(1, 10**12))
def test_ticks_are_few_and_inside(start, length):
    """At most nine times, each within the window, and none where its text would be cut off."""
    found = drawing.ticks(start, start + length)
    assert len(found) <= 9
    assert all(0 <= place <= 95 for place, _, _ in found)


def test_an_area_ends_where_it_begins():
    """A curve is closed at its bottom; no value leaves the picture."""
    points = [tuple(map(float, point.split(","))) for point in drawing.area([0, 2, 4], 40).split()]
    assert points[0] == (0, 40)
    assert points[-1] == (1000, 40)
    assert all(0 <= x <= 1000 and 0 <= y <= 40 for x, y in points)
    assert drawing.merged([{("A", "B"): 1}, {("A", "B"): 3}]) == {("A", "B"): 3}
