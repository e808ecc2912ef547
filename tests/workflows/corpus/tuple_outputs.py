# result: [2, "2", 2]
from typing import List, Tuple, Union

from latch import small_task, workflow


@small_task
def both(n: int) -> Tuple[int, str]:
    return n, str(n)


@small_task
def one(n: int) -> (int, str):
    return n, "x"


@workflow
def flow(n: int = 2) -> List[Union[int, str]]:
    number, text = both(n=n)
    return [number, text, one(n=n)[0]]
