# result: 19
from latch.resources.tasks import (
    g6e_2xlarge_task,
    g6e_4xlarge_task,
    g6e_8xlarge_task,
    g6e_12xlarge_task,
    g6e_16xlarge_task,
    g6e_24xlarge_task,
    g6e_48xlarge_task,
    g6e_xlarge_task,
    large_gpu_task,
    large_task,
    medium_task,
    small_gpu_task,
    small_task,
    v100_x1_task,
    v100_x4_task,
    v100_x8_task,
)
from latch.resources.workflow import workflow

DECORATORS = [
    small_task, medium_task, large_task, small_gpu_task, large_gpu_task, v100_x1_task, v100_x4_task, v100_x8_task,
    g6e_xlarge_task, g6e_2xlarge_task, g6e_4xlarge_task, g6e_8xlarge_task, g6e_12xlarge_task, g6e_16xlarge_task,
    g6e_24xlarge_task, g6e_48xlarge_task,
]


def plus(n: int) -> int:
    return n + 1


TASKS = [decorator(plus) for decorator in DECORATORS]


@workflow
def flow(n: int = 3) -> int:
    for task in TASKS:
        n = task(n=n)
    return n
