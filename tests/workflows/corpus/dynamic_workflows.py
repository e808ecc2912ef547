# result: [0, 1, 4]
from typing import List

from flytekit.core.dynamic_workflow_task import dynamic
from latch import small_task, workflow


@small_task
def count(n: int) -> int:
    return n


@small_task
def square(n: int) -> int:
    return n * n


@dynamic
def squares(n: int) -> List[int]:
    if n == 0:
        return []
    return [square(n=i) for i in range(n)]


@workflow
def flow(n: int = 3) -> List[int]:
    return squares(n=count(n=n))
