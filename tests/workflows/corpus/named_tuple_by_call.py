# result: {"low": 1, "high": 5}
import typing
from collections import namedtuple

from latch import small_task, workflow

Outputs = typing.NamedTuple("Outputs", low=int, high=int)
Plain = namedtuple("Plain", ["n"])


@small_task
def ends(n: int) -> Outputs:
    return Outputs(low=1, high=Plain(n).n)


@workflow
def flow(n: int = 5) -> Outputs:
    low, high = ends(n=n)
    return Outputs(low=low, high=high)
