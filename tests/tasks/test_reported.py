"""Constructs of public bug reports about Flyte: caching, maps, conditionals, dataclasses, files, retries."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Site
from tests.tasks.conftest import put, ran


@pytest.fixture
def script(site: Site) -> Path:
    put(site, "tests_ran.py")
    return put(site, "reported.py")


FOUND = {
    "a cached file that a task renames (flyte#6393)": "hello",
    "attributes of a dataclass as inputs (flyte#6517, flyte#2775, flyte#1510)":
        "(Box(maybe=3, many=['a'], kind=<Kind.TWO: 'two'>, table={'z': 1, 'a': 2}), [1, 2])",
    "bound lists and empty lists in maps (flyte#3887, flyte#5727, flyte#2184)":
        [["11213", "12223"], ["71819", "72829"], [], []],
    "conditions on items, classes and in branches (flyte#6473, flyte#5676, flyte#6185)":
        ["none", "some", "outer", "in"],
    "a class with a HashMethod (flyte#5823)": "path/to/video",
    "files listed in a folder (flyte#6005, flyte#2806)": ["text 0", "text 1", "text 2"],
    "the type in a union (flyte#4505)": [
        "'5'", "5", "Box(maybe=1, many=None, kind=<Kind.ONE: 'one'>, table={})", "'5'"],
    "a dataclass as default (flyte#2839)":
        "(Box(maybe=1, many=['x'], kind=<Kind.ONE: 'one'>, table={}), [1])",
}


def test_reports(site: Site, script: Path):
    """A first launch gives what plain Python gives; a second one reuses each cached task.

    Tasks that return None are cached, too (flyte#5837). Of a nested conditional only what is taken runs.
    """
    assert json.loads(site.ok("launch", "--jobs", "8", "reported.py:everything").out) == list(FOUND.values())
    said = ["said in", "said none", "said outer", "said some"]
    assert sorted(ran(site)) == sorted(["boxed 3", "created ", "hashed path/to/video", "nothing 1", "typed 1",
                                        "typed 3", *said])
    assert json.loads(site.ok("launch", "--jobs", "8", "reported.py:everything").out) == list(FOUND.values())
    assert sorted(ran(site)) == said


def test_recoverable_exceptions(site: Site, script: Path):
    """flytekit's exceptions are there, and a task that raises one is retried (flyte#3606)."""
    done = site.run("launch", "reported.py:recover")
    assert done.code == 1
    assert "FlyteRecoverableException: again" in done.err
    assert ran(site) == ["recovers 1"] * 3
