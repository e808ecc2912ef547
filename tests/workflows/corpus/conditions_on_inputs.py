# result: ["cold", "warm", "none", "four", "le", "some"]
"""Conditions on inputs of a workflow, and on parts of promises (flyte#6340, flyte#6473, flyte#2999)."""

from typing import List, Optional

from flytekit import conditional, dynamic, task, workflow


@task
def say(text: str) -> str:
    return text


@task
def values() -> List[Optional[int]]:
    return [None, 0]


@workflow
def chosen(cold: bool, name: Optional[str] = None, n: int = 4) -> str:
    return (conditional("all").if_(cold.is_true()).then(say(text="cold"))
            .elif_(name.is_none()).then(say(text="none"))
            .elif_((n == 4) & cold.is_(False)).then(say(text="four")).else_().then(say(text="warm")))


@dynamic
def grown(a: bool) -> str:
    return conditional("a").if_(a == True).then(say(text="cold")).else_().then(say(text="warm"))  # noqa: E712


@workflow
def flow(cold: bool = True, warm: bool = False) -> List[str]:
    found = values()
    return [
        chosen(cold=cold), grown(a=warm), chosen(cold=warm), chosen(cold=warm, name="x"),
        conditional("le").if_((found[1] != -1) & (found[1] <= 10)).then(say(text="le")).else_().then(
            say(text="gt")),
        conditional("none").if_(found[1].is_none()).then(say(text="none")).else_().then(say(text="some")),
    ]
