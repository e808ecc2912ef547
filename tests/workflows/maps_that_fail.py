"""Maps whose elements may fail, and workflows with what is done after a failure."""

from __future__ import annotations

import time
from pathlib import Path
from typing import List, Optional

from flytekit import Resources, WorkflowFailurePolicy
from flytekit.core.base_task import TaskMetadata
from flytekit.types.error import FlyteError
from latch import map_task, small_task, workflow
from tests_ran import ran

BAD = [2, 5]


@small_task(retries=1)
def halved(n: int) -> int:
    ran("halved", n)
    if n in BAD:
        raise ValueError(f"{n} is bad")
    return n // 2


@small_task(cache=True)
def doubled(n: int) -> int:
    ran("doubled", n)
    if n in BAD:
        raise ValueError(f"{n} is bad")
    return 2 * n


@small_task
def known(values: List[Optional[int]]) -> str:
    ran("known", values)
    return str(values)


@small_task
def one(value: Optional[int]) -> str:
    return repr(value)


@small_task
def ends(text: str) -> str:
    ran("ends", text)
    raise ValueError("broken")


@workflow
def tolerant(n: int = 6) -> List[str]:
    mapped = map_task(halved, min_success_ratio=0.6)(n=list(range(n)))
    return [known(values=mapped), one(value=mapped[2]), one(value=mapped[3])]


@workflow
def part_of_none() -> List[str]:
    mapped = map_task(halved, min_success_ratio=0.6)(n=list(range(6)))
    return [one(value=mapped[2].real), known(values=mapped)]


@workflow
def counted() -> str:
    return known(values=map_task(halved, min_successes=4)(n=list(range(6))))


@workflow
def strict() -> str:
    return known(values=map_task(halved, min_success_ratio=0.7)(n=list(range(6))))


@workflow
def cached() -> str:
    return known(values=map_task(doubled, min_success_ratio=0.5)(n=list(range(6))))


@workflow
def fails_later() -> str:
    return ends(text=known(values=map_task(doubled, min_success_ratio=0.5)(n=list(range(6)))))


@small_task
def timed(n: int, others: int) -> List[float]:
    began = time.time()
    time.sleep(0.3)
    return [began, time.time()]


@workflow
def few_at_once(limit: int = 2) -> List[List[float]]:
    from functools import partial

    return map_task(partial(timed, others=1), concurrency=limit)(n=list(range(4))).with_overrides(
        requests=Resources(cpu="1", mem="10Mi"))


@small_task
def clean_up(n: int, err: Optional[FlyteError] = None) -> None:
    ran("clean_up", f"{n}: {err.message if err else None}")


@workflow(on_failure=clean_up)
def cleaned(n: int = 2) -> int:
    return halved(n=n)


@small_task
def waits(n: int) -> int:
    ran("waits", n)
    time.sleep(600)
    return n


@small_task
def breaks(n: int) -> int:
    while not Path(__file__).with_name("ran.txt").exists():
        time.sleep(0.05)
    raise ValueError("at once")


@workflow(failure_policy=WorkflowFailurePolicy.FAIL_IMMEDIATELY)
def at_once(n: int = 1) -> List[int]:
    return [waits(n=n), breaks(n=n)]


@small_task(interruptible=True, deprecated="use halved", enable_deck=False)
def noted(n: int) -> int:
    return n


@workflow(interruptible=True)
def notes(n: int = 1) -> List[int]:
    mapped = map_task(noted, metadata=TaskMetadata(retries=1, interruptible=True))(n=[n])
    return [mapped, noted(n=n).with_overrides(node_name="first", retries=None)]
