# result: 3
from latch import message, small_task, workflow
from latch.functions.messages import message as also


@small_task
def says(n: int) -> int:
    message("info", {"title": "A title", "body": f"n is {n}"})
    also(typ="warning", data={"title": "B", "body": "b"})
    return n


@workflow
def flow(n: int = 3) -> int:
    return says(n=n)
