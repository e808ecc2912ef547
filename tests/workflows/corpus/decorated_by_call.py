# result: 8
from latch.resources.tasks import large_task, small_gpu_task
from latch.resources.workflow import workflow


def _double(n: int) -> int:
    return 2 * n


double = large_task(_double, cache=True)
again = small_gpu_task(_double)


def _flow(n: int = 2) -> int:
    return again(n=double(n=n))


flow = workflow(_flow)
