"""What runs after what: `>>` with workflows in workflows, and dynamic workflows."""

from __future__ import annotations

import time
from typing import List, Tuple

from flytekit import LaunchPlan, dynamic
from latch import create_conditional_section, small_task, workflow
from tests_ran import ran


@small_task
def step(name: str, seconds: float = 0.0) -> str:
    time.sleep(seconds)
    ran(name)
    return name


@small_task
def note(name: str) -> None:
    ran(name)


@workflow
def silent(name: str) -> None:
    """It returns nothing, and has a branch that is not taken."""
    first = step(name=name, seconds=0.5)
    (create_conditional_section("s").if_(first == "never").then(step(name="never"))
     .else_().then(step(name="else", seconds=0.5)))


@workflow
def two(name: str) -> Tuple[str, str]:
    return step(name=name + "1", seconds=0.3), step(name=step(name=name + "2"))


@dynamic
def many(names: List[str]) -> str:
    """A call whose result it does not return counts, too."""
    for name in names:
        step(name=name, seconds=0.5)
    return "many"


@workflow
def nothing() -> None:
    silent(name="first") >> silent(name="second")


@workflow
def mixed() -> List[str]:
    begin = step(name="begin", seconds=0.3)
    both = two(name="two")
    end = step(name="end")
    begin >> both
    both >> end
    return [*both, end]


@workflow
def plans() -> None:
    one = LaunchPlan.get_or_create(silent, "one", default_inputs={"name": "one"})()
    other = LaunchPlan.get_or_create(silent, "other", default_inputs={"name": "other"})()
    other >> one


@workflow
def grown() -> str:
    found = many(names=["a", "b"])
    after = step(name="after")
    found >> after
    return step(name=found)
