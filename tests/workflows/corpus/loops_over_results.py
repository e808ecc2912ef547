# result: [0, 10, 20]
from typing import List

from latch import small_task, workflow


@small_task
def numbers(n: int) -> List[int]:
    return list(range(n))


@small_task
def times(n: int, by: int = 10) -> int:
    return n * by


@workflow
def flow(n: int = 3) -> List[int]:
    return [times(n=each) for each in numbers(n=n)]
