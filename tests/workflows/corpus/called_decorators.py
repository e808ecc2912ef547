# result: 7
from latch.resources.tasks import medium_task, small_task
from latch.resources.workflow import workflow


@small_task()
def one(n: int) -> int:
    return n + 1


@medium_task(retries=1, timeout=60, cache=True, cache_version="1")
def two(n: int) -> int:
    return 2 * n


@workflow()
def flow(n: int = 3) -> int:
    return one(n=two(n=n))
