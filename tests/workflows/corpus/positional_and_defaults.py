# result: "1 2 x"
from latch import small_task, workflow


@small_task
def shows(a: int, b: int = 2, *, c: str = "x") -> str:
    return f"{a} {b} {c}"


@workflow
def flow(a: int = 1) -> str:
    return shows(a)
