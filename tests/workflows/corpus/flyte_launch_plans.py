# result: ["2", "4", "11", "8", "21"]
"""Launch plans that a workflow calls, with defaults and fixed inputs (flyte#6030, flyte#4444)."""

from typing import List

from flytekit import LaunchPlan, task, workflow


@task
def plus(n: int, by: int = 1) -> str:
    return str(n + by)


@workflow
def inner(n: int, by: int = 1) -> str:
    return plus(n=n, by=by)


made = LaunchPlan.create("made", inner, default_inputs={"n": 1})
fixed = LaunchPlan.get_or_create(inner, name="fixed", fixed_inputs={"n": 10})
plain = LaunchPlan.get_or_create(inner)
default = LaunchPlan.get_default_launch_plan(None, inner)


@workflow
def flow() -> List[str]:
    return [made(), made(n=3), fixed(), plain(n=7), default(n=20)]
