# result: [2, 4, 6]
from typing import List

from flytekit import dynamic, task, workflow


@task
def twice(n: int) -> int:
    return 2 * n


@task
def numbers(n: int) -> List[int]:
    return list(range(1, n + 1))


@dynamic
def inner(n: int) -> List[int]:
    return list(numbers(n=n))


@dynamic
def flow_of(n: int) -> List[int]:
    return [twice(n=k) for k in inner(n=n)]


@workflow
def flow(n: int = 3) -> List[int]:
    return flow_of(n=n)
