# result: [1, 5, 1, 5, 6]
from typing import List, NamedTuple

from latch import small_task, workflow


class Ends(NamedTuple):
    low: int
    high: int


@small_task
def ends(n: int) -> Ends:
    return Ends(low=1, high=n)


@small_task
def total(ends: Ends) -> int:
    return ends.low + ends.high


@workflow
def flow(n: int = 5) -> List[int]:
    found = ends(n=n)
    low, high = found
    return [found.low, found[1], low, high, total(ends=found)]
