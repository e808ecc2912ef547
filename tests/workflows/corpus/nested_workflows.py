# result: 24
from latch import small_task, workflow


@small_task
def double(n: int) -> int:
    return 2 * n


@workflow
def inner(n: int) -> int:
    return double(n=n)


@workflow
def middle(n: int) -> int:
    return inner(n=inner(n=n))


@workflow
def flow(n: int = 3) -> int:
    return inner(n=middle(n=n))
