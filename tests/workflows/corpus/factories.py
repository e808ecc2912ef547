# result: [6, 9, 12, 5]
import functools
from typing import List

from latch import small_task, workflow


def multiplier(by: int):
    @small_task(cache=True)
    def times(n: int) -> int:
        return by * n
    return times


def logged(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        print("calling", function.__name__)
        return function(*args, **kwargs)
    return wrapper


double, triple, fourfold = multiplier(2), multiplier(3), multiplier(4)


@small_task(cache=True)
@logged
def plus(n: int) -> int:
    return n + 2


@workflow
def flow(n: int = 3) -> List[int]:
    return [double(n=n), triple(n=n), fourfold(n=n), plus(n=n)]
