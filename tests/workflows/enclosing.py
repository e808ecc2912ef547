"""Tasks that share a name: made by a factory, by a decorator without functools.wraps, and by lambdas."""

from __future__ import annotations

import functools
import threading
from pathlib import Path
from typing import List

from nfresume.tasks import map_task, small_task, task, workflow

HERE = Path(__file__).parent


def ran(name: str, value: object = "") -> None:
    with (HERE / "ran.txt").open("a") as file:
        file.write(f"{name} {value}\n")


def logged(function):
    def wrapper(n: int) -> int:
        ran(function.__name__, n)
        return function(n=n)
    return wrapper


def adding(amount: int):
    def with_wraps(function):
        @functools.wraps(function)
        def wrapper(n: int) -> int:
            ran(f"{function.__name__}+{amount}", n)
            return function(n=n) + amount
        return wrapper
    return with_wraps


@small_task(cache=True)
@logged
def square(n: int) -> int:
    return n * n


@small_task(cache=True)
@logged
def double(n: int) -> int:
    return 2 * n


@small_task(cache=True, cache_version="1")
@logged
def pinned(n: int) -> int:
    return n + 100


@small_task(cache=True, cache_version="1")
@logged
def pinned_too(n: int) -> int:
    return n + 200


@small_task(cache=True)
@adding(1)
def same(n: int) -> int:
    return n


def power(exponent: int):
    @task(cache=True)
    def raise_to(n: int) -> int:
        ran(f"power {exponent}", n)
        return n ** exponent
    return raise_to


cube, fourth = power(3), power(4)
negative = small_task(cache=True, cache_version="1")(logged(lambda n: -n))
lock = threading.Lock()


def guarded(guard):
    @task(cache=True)
    def locked(n: int) -> int:
        ran("locked", n)
        with guard:
            return n
    return locked


locked = guarded(lock)


@workflow
def all_of_them(n: int = 3) -> List[int]:
    return [square(n=n), double(n=n), pinned(n=n), pinned_too(n=n), same(n=n), cube(n=n), fourth(n=n),
            negative(n=n)]


@workflow
def mapped(n: int = 3) -> List[int]:
    return map_task(fourth)(n=[n, n + 1])


@workflow
def unkeyed(n: int = 3) -> int:
    return locked(n=n)


@task
def fails(values: List[int]) -> List[int]:
    raise ValueError("no luck")


@workflow
def fails_late(n: int = 3) -> List[int]:
    return fails(values=[square(n=n), double(n=n), cube(n=n), fourth(n=n), locked(n=n)])
