"""Options of tasks, maps and workflows: which are obeyed, noted or refused."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace

import pytest

from nfresume import tasks
from nfresume.tasks import mapping, names, options, pods
from nfresume.tasks.mapping import Rule
from nfresume.tasks.sizes import Resources
from tests.tasks import latch_sdk


def double(n: int) -> int:
    if n == 13:
        raise ValueError("unlucky")
    return 2 * n


@pytest.fixture(autouse=True)
def nothing_noted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(options, "_unused", {})
    monkeypatch.setattr(options, "_told", set())


@pytest.mark.parametrize(("ratio", "total", "needed"), [
    (1.0, 7, 7), (1, 7, 7), (0.5, 7, 4), (0.0, 7, 0), (0.07, 100, 7), (0.7, 10, 7), (0.6, 6, 4), (1e-5, 7, 1),
    (1 / 3, 3, 1), (0.9, 0, 0)])
def test_how_many_must_succeed(ratio: float, total: int, needed: int):
    """The ratio of all elements, rounded up, without the errors of binary fractions."""
    assert Rule(ratio).needed(total) == needed


def test_a_rule_that_cannot_be():
    for given, line in (({"min_success_ratio": 1.1}, "from 0 to 1"), ({"min_successes": -1}, "negative"),
                        ({"concurrency": -1}, "negative")):
        with pytest.raises(ValueError, match=line):
            mapping.map_task(tasks.task(double), **given)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="there are 2 elements"):
        Rule(successes=3).needed(2)


def test_a_map_outside_of_a_workflow():
    """It obeys the same rule. The first failure that is too many is raised."""
    mapped = tasks.map_task(tasks.task(double), min_success_ratio=0.5)
    assert mapped(n=[1, 13, 2]) == [2, None, 4]
    with pytest.raises(ValueError, match="unlucky"):
        mapped(n=[1, 13, 13, 13])
    assert tasks.map_task(tasks.task(double), min_successes=1)(n=[13, 3]) == [None, 6]


def test_unknown_options():
    """A misspelt option is an error, as in flytekit, wherever it stands."""
    made = tasks.workflow(lambda n: n)  # a function that is no def
    for call in (lambda: tasks.task(retires=1), lambda: tasks.small_task(double, cach=True),
                 lambda: tasks.dynamic(retires=1), lambda: tasks.workflow(interuptible=True),
                 lambda: tasks.map_task(tasks.task(double), min_sucess_ratio=0.5),
                 lambda: tasks.LaunchPlan(made, "x", {}, schedul=1)):
        with pytest.raises(TypeError, match="no option"):
            call()


def test_what_is_noted():
    """Options without effect are named once, with at most three of those that have them."""
    for name in "abcd":
        def function() -> None: ...
        function.__name__ = name
        tasks.task(function, interruptible=True, enable_deck=False, disable_deck=True, docs=None,
                   pickle_untyped=True)
    assert options.unused() == "options without effect here: interruptible (a, b, c, ...)"
    tasks.task(double, interruptible=True, container_image=names.ImageSpec(), accelerator="a100")
    assert options.unused() == "options without effect here: accelerator (double); container_image (double)"
    assert options.unused() is None


@pytest.mark.parametrize(("given", "found"), [
    ({"resources": names.Resources(cpu="2", mem="4Gi")}, Resources(2, 4)),
    ({"resources": names.Resources(cpu=("1", "2"), mem=["1Gi", "2Gi"])}, Resources(1, 1)),
    ({"requests": names.Resources(cpu="500m"), "limits": names.Resources(cpu="1", mem="2Gi", gpu="1")},
     Resources(0.5, 2, 0, 1)),
    ({"pod_template": SimpleNamespace(pod_spec=pods.of_size(Resources(3, 5)).pod_spec,
                                      primary_container_name="primary")}, Resources(3, 5)),
    ({}, Resources(1, 0)),
])
def test_resources(given: dict[str, object], found: Resources):
    """`resources`, requests and limits together, and pod templates."""
    assert tasks.task(double, **given).resources == found
    assert tasks.map_task(tasks.task(double), **given).task.resources == found


def test_resources_twice():
    with pytest.raises(ValueError, match="together"):
        tasks.task(double, resources=names.Resources(cpu="1"), limits=names.Resources(cpu="1"))


class Policy:
    def get_version(self, salt: str, params: options.VersionParameters) -> str:
        return f"{salt} {params.func.__name__}"


def test_a_cache_object():
    """Salt and policies change the version; a Cache excludes the older options."""
    plain, salted = tasks.task(double, cache=True), tasks.task(double, cache=tasks.Cache(salt="a"))
    assert plain.code != salted.code
    assert (salted.cache, salted.version) == (True, "")
    one, two = (tasks.task(double, cache=tasks.Cache(salt=salt, policies=Policy())) for salt in "ab")
    assert one.version != two.version != ""
    assert tasks.task(double).overridden({"cache": tasks.Cache(version="7")}).version == "7"
    with pytest.raises(ValueError, match="replaces"):
        tasks.task(double, cache=tasks.Cache(version="1"), cache_version="2")


def test_secrets_in_variables():
    asked = [names.Secret("group", "key", env_var="KEY"), names.Secret(group="other")]
    assert tasks.task(double, secret_requests=asked).secrets == {"KEY": "key"}
    file = names.Secret("group", env_var="FILE", mount_requirement=names.Secret.MountType.FILE)
    assert tasks.task(double, secret_requests=[file]).secrets == {}
    assert "mount_requirement=FILE" in (options.unused() or "")


def test_on_failure_takes_the_inputs():
    """A handler that lacks an input of the workflow, or needs another one, is refused when it is declared."""
    def flow(n: int) -> int:
        raise ValueError(str(n))
    def lacking(m: int) -> None: ...
    def needing(n: int, m: int) -> None: ...
    with pytest.raises(TypeError, match="lacking cannot be the on_failure of flow: it has no input 'n'"):
        tasks.workflow(on_failure=tasks.task(lacking))(flow)
    with pytest.raises(TypeError, match="its input 'm' is none of the workflow's, and not optional"):
        tasks.workflow(on_failure=tasks.task(needing))(flow)
    called = []
    def handler(n: int, note: str | None, size: int = 3, err: names.FlyteError | None = None) -> None:
        called.append((n, note, size, err))
    with pytest.raises(ValueError, match="7"):
        tasks.workflow(on_failure=tasks.task(handler))(flow)(n=7)
    assert called == [(7, None, 3, names.FlyteError("7", ""))]


_SIGNATURES = """
import inspect, json
from flytekit import map_task, task
from flytekit.core.workflow import workflow
from flytekit.core.launch_plan import LaunchPlan
from flytekit.core.node import Node
found = {f.__name__: list(inspect.signature(f).parameters) for f in
         (task, map_task, workflow, LaunchPlan.get_or_create, Node.with_overrides)}
print(json.dumps(found))
"""


@pytest.mark.long
@pytest.mark.timeout(900)
def test_every_option_of_the_installed_package():
    """Latch's own flytekit has no keyword that is refused here."""
    import json

    done = subprocess.run([str(latch_sdk.environment() / "python"), "-c", _SIGNATURES], check=True, text=True,
                          capture_output=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert "interruptible" in found["task"]
    for name in (n for n in found["task"] if n != "_task_function"):
        tasks.task(double, **{name: None})
    for name in (n for n in found["map_task"] if n not in ("task_function", "kwargs", "min_success_ratio")):
        tasks.map_task(tasks.task(double), **{name: None})
    for name in (n for n in found["workflow"] if n != "_workflow_function"):
        tasks.workflow(**{name: None})
    plan = tasks.workflow(double)
    for name in (n for n in found["get_or_create"] if n not in ("workflow", "name")):
        tasks.LaunchPlan.get_or_create(plan, "x", **{name: None})
