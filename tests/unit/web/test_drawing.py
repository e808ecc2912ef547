"""Times along an axis, and filled curves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nfresume.web import drawing


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
