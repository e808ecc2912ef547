# result: true
import time
from datetime import timedelta

from flytekit import sleep, task, workflow


@task
def now() -> float:
    return time.time()


@task
def slept(first: float, second: float) -> bool:
    return second - first >= 0.5


@workflow
def flow() -> bool:
    first, pause, second = now(), sleep(timedelta(seconds=0.5)), now().with_overrides(retries=1)
    first >> pause
    pause >> second
    return slept(first=first, second=second)
