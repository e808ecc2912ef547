# result: [1, 4, 9, "odd"]
import asyncio
from typing import List

from flytekit import eager, task
from flytekit.exceptions.eager import EagerException


@task
def square(n: int) -> int:
    return n * n


@task
def parity(n: int) -> str:
    return "even" if n % 2 == 0 else "odd"


@eager
async def squares(count: int) -> List[int]:
    return list(await asyncio.gather(*(square(n=n) for n in range(1, count + 1))))


@eager
async def flow(n: int = 3) -> list:
    found = await squares(count=n)
    try:
        if found[-1] % 2:
            return [*found, await parity(n=found[-1])]
    except EagerException:
        return []
    return found
