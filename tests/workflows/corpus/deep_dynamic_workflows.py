# result: [7, 1, [2], 3]
from typing import List, Tuple

from flytekit import dynamic, task, workflow


@task
def one(n: int) -> int:
    return n


@dynamic
def down(n: int) -> int:
    if n == 0:
        return one(n=7)
    return down(n=n - 1)


@dynamic
def pair(n: int) -> Tuple[int, List[int]]:
    if n == 0:
        return one(n=1), [one(n=2)]
    first, second = pair(n=n - 1)
    return first, second


@dynamic
def growing(n: int, found: List[int]) -> List[int]:
    if n == 0:
        return found
    return growing(n=n - 1, found=[*found, n] if n < 4 else found)


@task
def length(found: List[int]) -> int:
    return len(found)


@workflow
def flow(n: int = 1500) -> list:
    first, second = pair(n=n)
    return [one(n=down(n=n)), first, second, length(found=growing(n=n, found=[]))]
