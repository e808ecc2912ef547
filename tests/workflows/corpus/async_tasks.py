# result: 6
import asyncio

from latch import small_task, workflow


@small_task
async def double(n: int) -> int:
    await asyncio.sleep(0)
    return 2 * n


@workflow
def flow(n: int = 3) -> int:
    return double(n=n)
