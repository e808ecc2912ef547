"""Maps of which some elements may fail, limits of concurrency, and what a workflow does after a failure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Site, until
from tests.tasks.conftest import fix, put, ran


@pytest.fixture
def script(site: Site) -> Path:
    put(site, "tests_ran.py")
    return put(site, "maps_that_fail.py")


def attempt(site: Site, number: int = -1) -> dict[str, object]:
    found: dict[str, object] = site.show()["attempts"][number]
    return found


@pytest.mark.parametrize(("workflow", "found"), [
    ("tolerant", ["[0, 0, None, 1, 2, None]", "None", "1"]), ("counted", "[0, 0, None, 1, 2, None]")])
def test_enough_elements_succeed(site: Site, script: Path, workflow: str, found: object):
    """0.6 of 6 are 4 elements. The others are tried as often as declared, give None, and count as ignored."""
    done = site.ok("launch", f"maps_that_fail.py:{workflow}")
    assert json.loads(done.out) == found
    assert "Process `halved (3)` failed with exit status 1: ValueError: 2 is bad. Its map goes on" in done.err
    calls = ran(site)
    assert sorted(c for c in calls if "halved" in c) == [f"halved {n}" for n in (0, 1, 2, 2, 3, 4, 5, 5)]
    tasks = attempt(site)["tasks"]
    assert isinstance(tasks, dict)
    succeeded = 7 if workflow == "tolerant" else 5
    assert (tasks["succeeded"], tasks["ignored"], tasks["retried"]) == (succeeded, 2, 2)
    assert "2 ignored" in site.ok("show", site.show()["id"]).out


def test_a_part_of_a_failed_element(site: Site, script: Path):
    """None has no parts: the call that wants one fails, and the others go on."""
    assert site.run("launch", "maps_that_fail.py:part_of_none").code == 1
    why = "Process `one (1)` cannot run: its inputs: 'NoneType' object has no attribute 'real'"
    assert attempt(site)["error"] == why
    assert "known [0, 0, None, 1, 2, None]" in ran(site)


def test_too_many_fail(site: Site, script: Path):
    """0.7 of 6 are 5 elements. All elements end, and a relaunch tries all that failed."""
    done = site.run("launch", "--storage-expiration-hours", "9", "maps_that_fail.py:strict")
    assert done.code == 1
    assert "(2 of 6 calls failed: min_success_ratio=0.7)" in str(attempt(site)["error"])
    assert sorted(ran(site)) == [f"halved {n}" for n in (0, 1, 2, 2, 3, 4, 5, 5)]
    again = site.run("relaunch", site.show()["id"])
    assert again.code == 1
    assert sorted(ran(site)) == ["halved 2", "halved 2", "halved 5", "halved 5"]
    fix(script, "min_success_ratio=0.7", "min_success_ratio=0.5")
    assert json.loads(site.ok("relaunch", site.show()["id"]).out) == "[0, 0, None, 1, 2, None]"


def test_a_failed_element_is_never_cached(site: Site, script: Path):
    """A later launch reuses the others and tries it again."""
    assert json.loads(site.ok("launch", "maps_that_fail.py:cached").out) == "[0, 2, None, 6, 8, None]"
    ran(site)
    assert json.loads(site.ok("launch", "maps_that_fail.py:cached").out) == "[0, 2, None, 6, 8, None]"
    assert sorted(c for c in ran(site) if "doubled" in c) == ["doubled 2", "doubled 5"]
    fix(script, "BAD = [2, 5]", "BAD = []")
    assert json.loads(site.ok("launch", "maps_that_fail.py:cached").out) == "[0, 2, 4, 6, 8, 10]"


def test_a_relaunch_after_a_later_failure(site: Site, script: Path):
    """The map has succeeded: its failed elements are not tried again, until the code or the rule changes."""
    assert site.run("launch", "--storage-expiration-hours", "9", "maps_that_fail.py:fails_later").code == 1
    execution = site.show()["id"]
    ran(site)
    done = site.run("relaunch", execution)
    assert "doubled (3) is not tried again: it failed, and its map succeeded without it" in done.err
    assert ran(site) == ["ends [0, 2, None, 6, 8, None]"]
    fix(script, "    raise ValueError(\"broken\")", "    return text")
    fix(script, "BAD = [2, 5]", "BAD = []")
    assert json.loads(site.ok("relaunch", execution).out) == "[0, 2, 4, 6, 8, 10]"
    assert sorted(ran(site)) == [*(f"doubled {n}" for n in range(6)), "ends [0, 2, 4, 6, 8, 10]",
                                 "known [0, 2, 4, 6, 8, 10]"]


@pytest.mark.parametrize(("limit", "most"), [(1, 1), (2, 2), (0, 4)])
def test_concurrency(site: Site, script: Path, limit: int, most: int):
    """At most so many elements run at once; 0: as many as there is room for."""
    done = site.ok("launch", "--jobs", "8", "maps_that_fail.py:few_at_once", "--limit", str(limit))
    times = json.loads(done.out)
    together = max(sum(began <= moment < ended for began, ended in times) for moment, _ in times)
    assert together <= most
    assert limit == 1 or together > 1


def test_on_failure(site: Site, script: Path):
    """It is called with the inputs and the error, after each failed attempt, and changes no outcome."""
    done = site.run("launch", "--storage-expiration-hours", "9", "maps_that_fail.py:cleaned")
    assert done.code == 1
    line = "clean_up 2: Process `halved (1)` failed with exit status 1: ValueError: 2 is bad"
    assert ran(site) == ["halved 2", "halved 2", line]
    assert site.run("relaunch", site.show()["id"]).code == 1
    assert ran(site) == ["halved 2", "halved 2", line]
    fix(script, "BAD = [2, 5]", "BAD = []")
    assert site.ok("relaunch", site.show()["id"]).out == "1\n"
    assert ran(site) == ["halved 2"]


def test_fail_immediately(site: Site, script: Path):
    """With this policy the first failure stops what runs."""
    done = site.run("launch", "--jobs", "8", "maps_that_fail.py:at_once")
    assert done.code == 1
    assert "ValueError: at once" in str(attempt(site)["error"])
    until(lambda: not site.processes(), what="its processes to be gone")


def test_options_without_effect(site: Site, script: Path):
    """They are told once, with whose they are. What asks for nothing is not told."""
    done = site.ok("launch", "maps_that_fail.py:notes")
    assert json.loads(done.out) == [[1], 1]
    lines = [line for line in done.err.splitlines() if "without effect" in line]
    assert lines == ["nfresume: options without effect here: interruptible (noted, notes)",
                     "nfresume: options without effect here: node_name (noted)"]
    assert done.err.count("noted is deprecated: use halved") == 1
