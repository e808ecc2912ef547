# result: [[10, 11, 12], [0, 2, 4], [20, 22, 24]]
from functools import partial
from typing import List

from latch.resources.map_tasks import map_task
from latch.resources.tasks import small_task
from latch.resources.workflow import workflow


@small_task
def add(n: int, to: int) -> int:
    return n + to


@small_task
def double(n: int) -> int:
    return 2 * n


@workflow
def flow(n: int = 3) -> List[List[int]]:
    added = map_task(partial(add, to=10))(n=list(range(n)))
    return [added, map_task(add)(n=[0, 1, 2], to=[0, 1, 2]), map_task(double)(n=added)]
