# result: [5, "world", "x", "5 BLUE 7"]
from dataclasses import dataclass
from enum import Enum
from typing import List, NamedTuple, Union

from flytekit import task, workflow

op = NamedTuple("OutputsBC", [("t1_int_output", int), ("c", str)])
Shade = Enum("Color", ["RED", "BLUE"])


def made():
    @dataclass
    class Sample:
        n: int

    return Sample


Local = made()


@task
def t1(a: int) -> op:
    return op(a + 2, "world")


@task
def t2(a: int) -> NamedTuple("Inline", n=int, c=str):
    return a, "x"


@task
def local(n: int) -> Local:
    return Local(n)


@task
def shown(outputs: op, shade: Shade, sample: Local) -> str:
    return f"{outputs.t1_int_output} {shade.name} {sample.n}"


@workflow
def flow(a: int = 3) -> List[Union[int, str]]:
    found = t1(a=a)
    return [found.t1_int_output, found.c, t2(a=a).c,
            shown(outputs=found, shade=Shade.BLUE, sample=local(n=7))]
