# result: [4, 9, 16]
from typing import List

from latch.resources.tasks import custom_memory_optimized_task, custom_task
from latch.resources.workflow import workflow


def memory(n: int) -> int:
    return 1 + n


@custom_task(cpu=1, memory=1, storage_gib=20, timeout=60)
def fixed(n: int) -> int:
    return n * n


@custom_task(1, memory)
def computed(n: int) -> int:
    return n * n


@custom_memory_optimized_task(cpu=2, memory=8)
def large(n: int) -> int:
    return n * n


@workflow
def flow(n: int = 2) -> List[int]:
    return [fixed(n=n), computed(n=n + 1), large(n=n + 2)]
