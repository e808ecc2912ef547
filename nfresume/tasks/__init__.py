"""Python workflows. Task results are cached, and a relaunch continues from the failed task.

>>> from nfresume.tasks import small_task, workflow
>>> @small_task(cache=True)
... def double(n: int) -> int:
...     return 2 * n
>>> @workflow
... def pipeline(n: int) -> int:
...     return double(n=double(n=n))
>>> pipeline(n=3)  # outside of an execution a task is a plain function
12

`nfresume launch file.py:pipeline --n 3` runs it as an execution.
"""

from typing import Any

from nfresume.tasks.declaring import (
    CACHED,
    SIZED,
    Dynamic,
    Task,
    Workflow,
    custom_memory_optimized_task,
    custom_task,
    dynamic,
    large_gpu_task,
    large_task,
    lustre_setup_task,
    medium_task,
    message,
    nextflow_runtime_task,
    small_gpu_task,
    small_task,
    task,
    workflow,
)
from nfresume.tasks.mapping import MapTask, map_task
from nfresume.tasks.options import Cache
from nfresume.tasks.plans import LaunchPlan
from nfresume.tasks.sections import create_conditional_section

globals().update({**SIZED, **CACHED})

__all__ = [
    "Cache", "Dynamic", "LaunchPlan", "MapTask", "Task", "Workflow", "create_conditional_section",
    "custom_memory_optimized_task", "custom_task", "dynamic", "large_gpu_task", "large_task",
    "lustre_setup_task", "map_task", "medium_task", "message", "nextflow_runtime_task", "small_gpu_task",
    "small_task", "task", "workflow", *SIZED, *CACHED,
]


def __getattr__(name: str) -> Any:
    raise AttributeError(f"nfresume.tasks has no {name!r}; it has {', '.join(sorted(set(__all__)))}")
