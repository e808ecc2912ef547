# result: [[0, 1], [1, 2], [[1.0, 2.0, 0.5], [1.0, 2.0, 1.5], [1.0, 2.0, 2.5]], ["a0", "a1"], "True 4 b"]
"""Maps of partials with a cache, with lists as fixed inputs, of NamedTuples; and pydantic models.

flyte#4330, flyte#3887, flyte#3784, flyte#1609, flyte#5409, flyte#6572.
"""

from enum import Enum
from functools import partial
from typing import List, NamedTuple, Optional

from flytekit import TaskMetadata, map_task, task, workflow
from pydantic import BaseModel


class Kind(str, Enum):
    a = "a"
    b = "b"


class Sub(BaseModel):
    n: int = 1


class Config(BaseModel):
    flag: bool
    kind: Kind = Kind.a
    sub: Optional[Sub] = None


class Out(NamedTuple):
    text: str
    n: int


@task(cache=True, cache_version="0.1")
def plus(x: int, y: int) -> int:
    return x + y


@task
def numbers() -> List[float]:
    return [1.0, 2.0]


@task
def extended(x: List[float], y: float) -> List[float]:
    return [*x, y]


@task
def out(n: int) -> Out:
    return Out("a", n)


@task
def joined(values: List[Out]) -> List[str]:
    return [f"{each.text}{each.n}" for each in values]


@task
def config() -> Config:
    return Config(flag=True, sub=Sub(n=4), kind="b")


@task
def checked(flag: bool, n: int, whole: Config) -> str:
    return f"{flag} {n} {whole.kind.value}"


@workflow
def flow(data: List[int] = [0, 1]) -> list:
    made = config()
    return [
        map_task(partial(plus, y=0))(x=data), map_task(partial(plus, y=1))(x=data),
        map_task(partial(extended, x=numbers()))(y=[0.5, 1.5, 2.5]),
        joined(values=map_task(out, metadata=TaskMetadata(retries=1), concurrency=2)(n=data)),
        checked(flag=made.flag, n=made.sub.n, whole=made),
    ]
