# result: ["1.5", "2026-01-31", "b", true, ["x"]]
# inputs: --ratio 1.5 --day 2026-01-31 --choice b --flag true --some '["x"]'
from datetime import date, datetime, timedelta
from typing import Any, List, Literal, Set

from latch import small_task, workflow


@small_task
def shows(ratio: float, day: date, choice: Literal["a", "b"], flag: bool, some: Set[str]) -> List[Any]:
    return [str(ratio), day.isoformat(), choice, flag, sorted(some)]


@workflow
def flow(ratio: float, day: date, choice: Literal["a", "b"], flag: bool, some: Set[str]) -> List[Any]:
    return shows(ratio=ratio, day=day, choice=choice, flag=flag, some=some)
