# result: [1, {"x": [2]}, [3], 3]
from typing import Dict, List, Set, Tuple

from latch import small_task, workflow


@small_task
def made(n: int) -> List:
    return [n]


@small_task
def named(items: List, more: Dict) -> Dict:
    return {**more, "x": items}


@small_task
def pair(n: int) -> Tuple:
    return n, n + 1


@small_task
def count(found: Set, both: Tuple, by_name: Dict) -> int:
    return len(found) + len(both) - len(by_name)


@workflow
def flow(n: int = 1) -> List:
    return [n, named(items=made(n=2), more={}), made(n=3), count(found={1, 2}, both=pair(n=1), by_name={"a": 1})]
