# result: 6
from latch import small_task, workflow


@small_task
def double(n: int) -> int:
    return 2 * n


@workflow
def flow(n: int = 3) -> int:
    return double(n=n)
