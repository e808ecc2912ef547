"""The order of what runs, where no value is passed."""

from __future__ import annotations

import pytest

from tests.conftest import Site
from tests.tasks.conftest import put, ran


@pytest.mark.parametrize(("workflow", "calls"), [
    ("nothing", [["first"], ["else"], ["second"], ["else"]]),
    ("plans", [["other"], ["else"], ["one"], ["else"]]),
    ("mixed", [["begin"], ["two1", "two2", "two2"], ["end"]]),
    ("grown", [["a", "b"], ["after", "many"]])])
def test_order(site: Site, workflow: str, calls: list[list[str]]):
    """`>>` before and after a workflow means all its calls. A dynamic workflow ends with its last call."""
    put(site, "tests_ran.py")
    put(site, "ordered.py")
    site.ok("launch", "--jobs", "8", f"ordered.py:{workflow}")
    found = [line.strip() for line in ran(site)]
    for group in calls:
        assert sorted(found[:len(group)]) == group
        del found[:len(group)]
    assert found == []
