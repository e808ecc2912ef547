# result: {"low": 4, "high": 5, "sum": 9}
import typing
from collections import namedtuple

from latch import small_task, workflow

Outputs = typing.NamedTuple("Outputs", low=int, high=int)
Ends = typing.NamedTuple("Ends", [("low", int), ("high", int), ("sum", int)])
Sum = typing.NamedTuple("Sum", [("sum", int)])
Plain = namedtuple("Plain", ["n"])


@small_task
def ends(n: int) -> Outputs:
    return Outputs(low=1, high=Plain(n).n)


@small_task
def moved(low: int, high: int) -> Outputs:
    return low + 3, high


@small_task
def added(low: int, high: int) -> Sum:
    return low + high


@workflow
def inner(n: int) -> Outputs:
    low, high = ends(n=n)
    found = moved(low=low, high=high)
    return found.low, found.high


@workflow
def flow(n: int = 5) -> Ends:
    found = inner(n=n)
    return Ends(low=found.low, high=found.high, sum=added(low=found.low, high=found.high).sum)
