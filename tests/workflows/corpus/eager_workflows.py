# result: [1, 4, 9, "odd", 10, "9!", "b", 3, null, true]
import asyncio
import os
import time
from typing import Dict, List

from flytekit import eager, task, workflow
from flytekit.exceptions.eager import EagerException


@task
def square(n: int) -> int:
    return n * n


@task
def parity(n: int) -> str:
    return "even" if n % 2 == 0 else "odd"


@task
def table() -> Dict[str, List[str]]:
    return {"x": ["a", "b"]}


@task
def fails() -> int:
    raise ValueError("no")


@workflow
def inner(n: int) -> int:
    return square(n=n)


@task
def late(place: str) -> None:
    time.sleep(1)
    open(place, "w").close()


@task
def there(place: str) -> bool:
    return os.path.exists(place)


@workflow
def ends(place: str) -> None:
    late(place=place)


@eager
async def waits() -> bool:
    place = f"{os.getcwd()}/late-{time.time_ns()}"
    await ends(place=place)
    return await there(place=place)


@eager
async def squares(count: int) -> List[int]:
    return list(await asyncio.gather(*(square(n=n) for n in range(1, count + 1))))


@eager
async def nothing(n: int):
    if inner(n=n) > 100:
        await fails()


@eager
async def flow(n: int = 3) -> list:
    found = await squares(count=n)
    last = square(n=n)
    try:
        if last % 2 and "d" in parity(n=last):
            names = table()["x"]
            return [*found, await parity(n=found[-1]), last + 1, f"{last}!", names[1].lower(),
                    len(str(inner(n=10))), await nothing(n=2), await waits()]
    except EagerException:
        return []
    return found


@eager
async def failing() -> str:
    try:
        return str(await fails())
    except EagerException as e:
        print("seen", e, flush=True)
        raise
