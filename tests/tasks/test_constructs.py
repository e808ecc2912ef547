"""The constructs of Latch's and Flyte's workflows, in a running workflow."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Site, first
from tests.tasks.conftest import put, ran


@pytest.fixture
def script(site: Site) -> Path:
    put(site, "tests_ran.py")
    return put(site, "constructs.py")


def result(site: Site, workflow: str, n: int) -> object:
    return json.loads(site.ok("launch", f"constructs.py:{workflow}", "--n", str(n)).out)


def test_conditional_sections(site: Site, script: Path):
    """The first condition that is true decides. Calls of the other branches do not run."""
    for n, found, calls in ((1, 40, ["count 1", "double 10", "double 20"]),
                            (2, 16, ["count 2", "double 2", "double 4", "double 8"]),
                            (4, 8, ["count 4", "double 4"])):
        assert result(site, "choose", n) == found
        assert sorted(ran(site)) == calls
    done = site.run("launch", "constructs.py:choose", "--n", "9")
    assert done.code == 1
    assert "Process `conditional section size` cannot run: nine is too many" in done.err


@pytest.mark.parametrize(("n", "found"), [(0, [-1, -4, 5]), (3, [-2, -3, 7])])
def test_flags_and_nested_sections(site: Site, script: Path, n: int, found: list[int]):
    """is_none, is_true, is_false; a section within a branch."""
    assert result(site, "flags", n) == found
    assert len(ran(site)) == 3


def test_a_failure_in_a_branch(site: Site, script: Path):
    """It fails the run only when the branch is taken."""
    assert result(site, "fails_inside", 2) == 5
    done = site.run("launch", "constructs.py:fails_inside", "--n", "1")
    assert (done.code, "no luck with 1" in done.err) == (1, True)


@pytest.mark.parametrize(("workflow", "n", "found"), [
    ("grows", 3, {"many": 6, "recursive": 12}), ("outputs", 4, [0, 4, 4, 0, 4, 4, 4, 4, 4]),
    ("maps", 3, [12, 2]), ("ordered", 3, 6), ("overridden", 3, 3),
    ("prints", 3, 3),
])
def test_values(site: Site, script: Path, workflow: str, n: int, found: object):
    """Dynamic workflows, outputs by position and name, maps over results of maps, order, overrides."""
    assert result(site, workflow, n) == found


def test_a_relaunch_of_a_dynamic_workflow(site: Site, script: Path):
    """What a dynamic workflow has called is reused."""
    text = script.read_text()
    script.write_text(text.replace("    return sum(values)", "    raise ValueError"))
    assert site.run("launch", "--storage-expiration-hours", "1", "constructs.py:grows", "--n", "3").code == 1
    ran(site)
    script.write_text(text)
    done = site.ok("relaunch", site.show()["id"])
    assert json.loads(done.out) == {"many": 6, "recursive": 12}
    assert ran(site) == []


@pytest.mark.parametrize(("workflow", "why"), first(4, [
    ("branches_on_a_promise", "test it inside of a task, or with create_conditional_section"),
    ("tests_a_promise", "test it inside of a task, or with create_conditional_section"),
    ("looks_into_a_promise", "look into it inside of a task"),
    ("is_in_a_list", "test it inside of a task, or with create_conditional_section"),
    ("formats_a_promise", "make texts of it inside of a task"),
    ("joins_a_promise", "make texts of it inside of a task"),
    ("calls_a_method", "call its methods inside of a task"),
    ("opens_a_promise", "use it as a path inside of a task"),
    ("changes_a_promise", "change it inside of a task"),
    ("changes_an_item", "change it inside of a task"),
    ("computes_with_a_promise", "compute with it inside of a task"),
]))
def test_what_a_promise_cannot_do(site: Site, script: Path, workflow: str, why: str):
    """The error names the line, and the way to write it (flytesnacks#81)."""
    lines = script.read_text().splitlines()
    number = next(at for at, line in enumerate(lines, 1) if line.startswith(f"def {workflow}"))
    number += 2 if "branches" in workflow else 1
    done = site.run("launch", f"constructs.py:{workflow}", "--n", "3")
    assert done.code == 1
    error = site.show()["attempts"][0]["error"]
    assert f"line {number} of constructs.py: <the promise of count (" in error, error
    assert why in error
    assert "/nfresume/tasks/" not in done.err


def test_a_section_without_end(site: Site, script: Path):
    """A section needs else_(), which is said."""
    done = site.run("launch", "constructs.py:without_end", "--n", "1")
    assert done.code == 1
    assert "conditional section open has no else_()" in site.show()["attempts"][0]["error"]


def test_a_promise_in_an_object(site: Site):
    """Nobody can see that the call needs it: refused in one line that says what to do."""
    (site.launch_dir / "flow.py").write_text(
        "from typing import Any\nfrom pydantic import BaseModel\nfrom flytekit import task, workflow\n"
        "class Model(BaseModel):\n    n: Any\n"
        "@task\ndef one() -> int:\n    return 1\n@task\ndef use(model: Model) -> int:\n    return model.n\n"
        "@workflow\ndef flow() -> int:\n    return use(model=Model(n=one()))\n")
    done = site.run("launch", "flow.py:flow")
    assert done.code == 1
    assert "<the promise of one (1)> is inside of an object: pass it as an input of its own" in done.err
    assert "Traceback" not in done.err
