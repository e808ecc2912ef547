# result: 3
import logging
import sys

sys.stdout.reconfigure(line_buffering=True)
logging.basicConfig(level=logging.INFO)
print("loaded")

from latch import small_task, workflow  # noqa: E402


@small_task
def same(n: int) -> int:
    print("running")
    return n


@workflow
def flow(n: int = 3) -> int:
    return same(n=n)
