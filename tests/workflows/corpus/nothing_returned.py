# result: null
from latch import small_task, workflow


@small_task
def says(n: int) -> None:
    print(n)


@workflow
def flow(n: int = 3) -> None:
    says(n=n)
