# result: 12
from latch import cached_large_task
from latch.resources.tasks import cached_small_task, workflow


@cached_large_task("0.0.1")
def double(n: int) -> int:
    return 2 * n


@cached_small_task(cache_version="a")
def again(n: int) -> int:
    return 2 * n


@workflow
def flow(n: int = 3) -> int:
    return again(n=double(n=n))
