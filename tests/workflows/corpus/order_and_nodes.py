# result: [2, 3]
from typing import List

from flytekit.core.node_creation import create_node
from latch import small_task, workflow


@small_task
def first(n: int) -> int:
    return n


@small_task
def second(n: int) -> int:
    return n + 1


@workflow
def flow(n: int = 2) -> List[int]:
    one, two = create_node(first, n=n), second(n=n)
    one >> two
    create_node(first, n=4).runs_before(one)
    return [one.o0, two.with_overrides(node_name="last", retries=2)]
