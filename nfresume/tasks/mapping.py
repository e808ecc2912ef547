"""`map_task`: a task that is called once for each element of its lists. Each call has its own cache entry."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from nfresume.tasks import options, promises
from nfresume.tasks.declaring import Task


@dataclass(frozen=True)
class Rule:
    """How many elements of a map must succeed, and how many may run at once. One that fails gives None.

    `successes` is a number of elements, and counts before `ratio`. `at_once` 0: as many as there is room for.
    """

    ratio: float = 1.0
    successes: int | None = None
    at_once: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.ratio <= 1:
            raise ValueError(f"min_success_ratio={self.ratio}: from 0 to 1")
        if self.successes is not None and self.successes < 0:
            raise ValueError(f"min_successes={self.successes}: must not be negative")
        if self.at_once < 0:
            raise ValueError(f"concurrency={self.at_once}: must not be negative")

    def needed(self, total: int) -> int:
        """How many of `total` elements must succeed. Raises ValueError when there are not so many.

        The ratio counts as it is written, in decimals: 0.07 of 100 are 7 elements.
        """
        if self.successes is None:
            return math.ceil(Fraction(str(self.ratio)) * total)
        if self.successes > total:
            raise ValueError(f"min_successes={self.successes}, but there are {total} elements")
        return self.successes

    def __str__(self) -> str:
        return (f"min_success_ratio={self.ratio}" if self.successes is None
                else f"min_successes={self.successes}")


@dataclass(eq=False)
class MapTask:
    """A task that is mapped over lists. `bound` are inputs that are equal in all calls."""

    task: Task
    bound: Mapping[str, Any] = field(default_factory=dict)
    rule: Rule = field(default_factory=Rule)

    def with_overrides(self, **given: Any) -> MapTask:
        """The same map with other options of its task."""
        return MapTask(self.task.overridden(given), self.bound, self.rule)

    def __call__(self, /, **lists: Any) -> Any:
        scheduler = promises.running()
        if scheduler is not None:
            return scheduler.submit_all(self, lists)
        rows = call_inputs(self.task.name, lists)
        found: list[Any] = []
        spare = len(rows) - self.rule.needed(len(rows))
        for row in rows:
            try:
                found.append(self.task(**self.bound, **row))
            except Exception:  # of the task's own code
                if not spare:
                    raise
                spare -= 1
                found.append(None)
        return found


def call_inputs(name: str, lists: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The inputs of each call of a map over `lists`; `name` is the task's.

    Raises TypeError for a value that is not a list, ValueError for lists of different lengths.
    """
    for parameter, value in lists.items():
        if not isinstance(value, list | tuple):
            raise TypeError(f"map_task({name}): {parameter} must be a list, not {type(value).__name__}")
    if len({len(value) for value in lists.values()}) > 1:
        raise ValueError(f"map_task({name}): the lists differ in length: "
                         + ", ".join(f"{key} {len(value)}" for key, value in lists.items()))
    return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]


def map_task(
    task_function: Any = None, concurrency: int | None = None, *, min_successes: int | None = None,
    min_success_ratio: float | None = 1.0, target: Any = None, metadata: Any = None, **more: Any,
) -> MapTask:
    """Map a task, or a functools.partial of one, over lists. Raises TypeError for anything else.

    `metadata`: flytekit's TaskMetadata, whose cache, cache_version, retries and timeout then hold. All
    elements run to their end in any case, as with `run_all_sub_nodes`.
    """
    found: Any = task_function if task_function is not None else target
    bound: dict[str, Any] = {}
    if isinstance(found, functools.partial):
        if found.args:
            raise TypeError("map_task(partial(...)): bind by keyword")
        found, bound = found.func, dict(found.keywords)
    if not isinstance(found, Task):
        raise TypeError(f"map_task needs a task, not {found!r}")
    options.check("map_task", more, options.UNUSED_OF_MAPS | options.OVERRIDABLE | {"run_all_sub_nodes"})
    more.pop("run_all_sub_nodes", None)
    changed = {**(vars(metadata) if metadata else {}), **more}
    rule = Rule(1.0 if min_success_ratio is None else min_success_ratio, min_successes, concurrency or 0)
    return MapTask(found.overridden(changed) if changed else found, bound, rule)
