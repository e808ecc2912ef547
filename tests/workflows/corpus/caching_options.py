# result: 6
from latch.resources.tasks import small_task
from latch.resources.workflow import workflow


@small_task(cache=True, cache_version="1", cache_serialize=True, cache_ignore_input_vars=("note",),
            interruptible=False, deprecated="", environment={"A": "b"}, secret_requests=None,
            container_image=None, execution_mode=None, dockerfile=None, task_resolver=None, requests=None,
            limits=None, timeout=100, retries=1, enable_memory_profiling=False)
def double(n: int, note: str) -> int:
    import os
    assert os.environ["A"] == "b"
    return 2 * n


@workflow
def flow(n: int = 3) -> int:
    return double(n=n, note="x")
