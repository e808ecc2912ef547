"""Workflows in workflows, which fail: what is called then, and what is stopped."""

from __future__ import annotations

import time
from pathlib import Path
from typing import List, Optional

from flytekit import WorkflowFailurePolicy, dynamic
from flytekit.types.error import FlyteError
from latch import create_conditional_section, small_task, workflow
from tests_ran import ran

BAD = ["b"]


@small_task
def build(name: str) -> str:
    ran("build", name)
    if name in BAD:
        raise ValueError(f"{name} is bad")
    return name.upper()


@small_task
def clean_up(name: str, size: int = 0, err: Optional[FlyteError] = None) -> None:
    ran("clean_up", f"{name} {size}: {err.message.rpartition(': ')[2] if err else None}")


@small_task
def report(n: int) -> None:
    ran("report", n)


@workflow(on_failure=clean_up)
def cluster(name: str, size: int = 3) -> str:
    return build(name=build(name=name))


@workflow(on_failure=clean_up)
def pair(name: str) -> List[str]:
    return [cluster(name=name), cluster(name="c"), cluster(name=name, size=5)]


@dynamic
def each(names: List[str]) -> List[str]:
    return [cluster(name=name, size=len(name)) for name in names]


@workflow(on_failure=report)
def flow(n: int = 1) -> List[str]:
    """Two clusters of a pair fail, then the pair, then this."""
    return [pair(name="b"), cluster(name="d")]


@workflow
def grown() -> List[List[str]]:
    """A cluster fails in a dynamic workflow. Another one gets no input, because the task of it fails."""
    return [each(names=["a", "b"]), cluster(name=build(name="b"))]


def seen(*lines: str) -> None:
    """Wait until these lines are in the list of what ran."""
    file = Path(__file__).with_name("ran.txt")
    while not file.exists() or not set(lines) <= set(file.read_text().splitlines()):
        time.sleep(0.05)


@small_task
def endless(name: str) -> str:
    ran("endless", name)
    time.sleep(600)
    return name


@small_task
def breaks(name: str) -> str:
    seen("endless inner", "outer begins")
    ran("breaks", name)
    raise ValueError("at once")


@small_task
def never(name: str) -> str:
    ran("never", name)
    return name


@small_task
def outer(name: str) -> str:
    ran("outer", "begins")
    seen("breaks inner")
    time.sleep(1)
    ran("outer", "ends")
    return name


@workflow(failure_policy=WorkflowFailurePolicy.FAIL_IMMEDIATELY)
def strict(name: str, after: str) -> List[str]:
    made = [endless(name=name), breaks(name=name)]
    return made + [never(name=letter) for letter in after]


@workflow
def stops() -> List[str]:
    """The inner workflow stops what it runs. The outer one goes on to its end."""
    late = outer(name="ab")
    return [strict(name="inner", after=late), build(name=late)]


@workflow(on_failure=report)
def unfinished_section(n: int = 1) -> str:
    """The function cannot continue in the midst of a conditional section."""
    bad = build(name="b")
    return (create_conditional_section("s").if_(build(name="a") == "A")
            .then(build(name="".join(bad))).else_().then(build(name="z")))
