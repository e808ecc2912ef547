"""What happens when a workflow fails that another workflow calls."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Site
from tests.tasks.conftest import fix, put, ran


@pytest.fixture
def script(site: Site) -> Path:
    put(site, "tests_ran.py")
    return put(site, "nested_failures.py")


def test_inner_ones_first(site: Site, script: Path):
    """Each failed workflow's on_failure gets its own inputs and error; the inner ones are called first."""
    done = site.run("launch", "--storage-expiration-hours", "9", "nested_failures.py:flow")
    assert done.code == 1
    calls = ran(site)
    handled = [call for call in calls if not call.startswith("build")]
    assert sorted(handled[:2]) == ["clean_up b 3: b is bad", "clean_up b 5: b is bad"]
    assert handled[2:] == ["clean_up b 0: b is bad", "report 1"]
    assert sorted(call for call in calls if call.startswith("build")) == [
        "build C", "build D", "build b", "build b", "build c", "build d"]
    assert "without effect" not in done.err
    fix(script, 'BAD = ["b"]', "BAD = []")
    assert json.loads(site.ok("relaunch", site.show()["id"]).out) == [["B", "C", "B"], "D"]
    assert not [call for call in ran(site) if not call.startswith("build")]


def test_as_plain_python_does(site: Site, script: Path):
    """Outside of an execution the same functions are called, until the first failure."""
    code = ("import sys; from nfresume.tasks import standins; standins.install()\n"
            "import nested_failures as m\ntry: m.flow()\nexcept ValueError as e: print(e)")
    done = subprocess.run([sys.executable, "-c", code], cwd=site.launch_dir, text=True, capture_output=True)
    assert (done.stdout, done.stderr) == ("b is bad\n", "")
    assert ran(site) == ["build b", "clean_up b 3: b is bad", "clean_up b 0: b is bad", "report 1"]


def test_of_a_dynamic_workflow(site: Site, script: Path):
    """One that never began, because its input failed, has no failure of its own."""
    assert site.run("launch", "nested_failures.py:grown").code == 1
    handled = [call for call in ran(site) if not call.startswith("build")]
    assert handled == ["clean_up b 1: b is bad"]


def test_an_inner_policy(site: Site, script: Path):
    """FAIL_IMMEDIATELY of an inner workflow stops its own calls only, also those that it would make later."""
    done = site.run("launch", "--jobs", "8", "nested_failures.py:stops")
    assert done.code == 1
    calls = ran(site)
    assert sorted(calls[:2]) == ["endless inner", "outer begins"]
    assert calls[2:] == ["breaks inner", "outer ends", "build ab"]


def test_a_section_that_cannot_be_finished(site: Site, script: Path):
    """The failure is told, and not that the section has no end; the on_failure is called."""
    done = site.run("launch", "nested_failures.py:unfinished_section")
    assert done.code == 1
    assert "b is bad" in done.err
    assert "else_" not in done.err
    assert sorted(ran(site)) == ["build a", "build b", "report 1"]


@pytest.mark.parametrize(("inputs", "code"), [("n: int", 0), ("n: int, err: str = ''", 0), ("m: int", 1)])
def test_the_handler_of_an_imperative_workflow(site: Site, inputs: str, code: int):
    """It is checked when it is added, as that of a decorator is."""
    (site.launch_dir / "flow.py").write_text(
        "from flytekit import Workflow, task\n@task\ndef one(n: int) -> int:\n    return n\n"
        f"@task\ndef tidy({inputs}) -> None:\n    pass\n"
        "flow = Workflow(name='a.flow')\nflow.add_workflow_input('n', int)\n"
        "node = flow.add_entity(one, n=flow.inputs['n'])\nflow.add_workflow_output('n', node.outputs['o0'])\n"
        "flow.add_on_failure_handler(tidy)\n")
    done = site.run("launch", "flow.py:flow", "--n", "3")
    assert (done.code != 0) == bool(code), done.err
    assert ("tidy cannot be the on_failure of flow: it has no input 'n'" in done.err) == bool(code)
