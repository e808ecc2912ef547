"""Where boxes and arrows of the graph of processes go."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfresume.nextflow.summary import Progress
from nfresume.web import graphs
from nfresume.web.graphs import NARROW, WIDE


def rows(*names: str) -> list[Progress]:
    return [Progress(name, completed=1) for name in names]


def test_a_process_stands_below_those_it_uses():
    """From the top down by the files that are used; loops to the process itself are not drawn."""
    made = graphs.graph(rows("A", "B", "C", "D"), {
        ("A", "B"): 2, ("B", "C"): 1, ("A", "C"): 1, ("C", "C"): 3})
    at = {node.row.process: node.y for node in made.nodes}
    assert at["A"] < at["B"] < at["C"]
    assert at["D"] == at["A"]
    assert {(line.source, line.target, line.count) for line in made.lines} == {
        ("A", "B", 2), ("B", "C", 1), ("A", "C", 1)}


@pytest.mark.parametrize(("shape", "most"), [(WIDE, 955), (NARROW, 366)])
def test_a_picture_is_as_wide_as_its_page(shape, most):
    """A chain of processes, and many beside each other, fit on a screen of 1440, and on a phone of 390."""
    names = [f"P{n}" for n in range(30)]
    chain = graphs.graph(rows(*names), dict.fromkeys(itertools.pairwise(names), 1), shape)
    beside = graphs.graph(rows(*names), {("P0", name): 1 for name in names[1:]}, shape)
    assert chain.width <= beside.width <= most
    assert len({node.x for node in chain.nodes}) == 1


def test_a_late_source_stands_where_it_is_used():
    """A process without inputs from others, of which only the last one uses a file, is just above that."""
    made = graphs.graph(rows("A", "B", "C", "INDEX"), {
        ("A", "B"): 1, ("B", "C"): 1, ("INDEX", "C"): 1})
    at = {node.row.process: node.y for node in made.nodes}
    assert at["INDEX"] == at["B"]


def test_an_arrow_goes_past_boxes():
    """An arrow over several layers crosses no box between its ends."""
    made = graphs.graph(rows("A", "B", "C", "D"), {
        ("A", "B"): 1, ("B", "C"): 1, ("C", "D"): 1, ("A", "D"): 1})
    line = next(line for line in made.lines if (line.source, line.target) == ("A", "D"))
    straight = re.search(r"L([-\d]+),", line.path)
    assert straight is not None
    between = [node for node in made.nodes if node.row.process in "BC"]
    assert all(not node.x <= int(straight[1]) <= node.x + node.width for node in between)


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=30),
       st.sampled_from([WIDE, NARROW]))
def test_every_graph_has_a_picture(pairs, shape):
    """Circles too: each process has a place of its own, and each arrow stays inside the picture."""
    names = [f"P{n}" for n in range(8)]
    made = graphs.graph(rows(*names), {(f"P{a}", f"P{b}"): 1 for a, b in pairs}, shape)
    places = {(node.x, node.y) for node in made.nodes}
    assert len(places) == 8
    assert all(node.x + node.width <= made.width and node.y + graphs.HEIGHT <= made.height
               for node in made.nodes)
    for line in made.lines:
        for x, y in re.findall(r"(-?\d+),(-?\d+)", line.path):
            assert 0 <= int(x) <= made.width + graphs.MARGIN, line
            assert 0 <= int(y) <= made.height, line


def test_many_processes_are_left_out():
    """The picture has those with the most tasks."""
    many = [Progress(f"P{n}", completed=n) for n in range(200)]
    made = graphs.graph(many, {})
    assert (len(made.nodes), made.left_out) == (120, 80)
    assert "P0" not in {node.row.process for node in made.nodes}


def test_edges_of_attempts_are_merged():
    """Of each edge the largest count."""
    assert graphs.merged([{("A", "B"): 1}, {("A", "B"): 3}]) == {("A", "B"): 3}


@pytest.mark.parametrize(("counts", "note", "state"), [
    ({"completed": 3}, "", "completed"), ({"cached": 3}, "3 reused", "cached"),
    ({"completed": 1, "running": 2}, "2 running", "running"),
    ({"running": 2, "failed": 1}, "1 failed", "failed"),
    ({"completed": 2, "failed": 1, "ignored": 1}, "1 ignored", "completed"),
    ({"completed": 2, "failed": 1, "retried": 1}, "", "completed"),
])
def test_what_a_box_says(counts, note, state):
    """What matters most stands beside the counts; a failure that was ignored does not colour the box."""
    node = graphs.Node(Progress("X:" + "LONG_NAME_" * 3, **counts), 0, 0, 160)
    assert (node.note, node.state) == (note, state)
    assert len(node.short) <= 15
