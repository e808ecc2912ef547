# result: 3
from latch import small_task, workflow


@small_task
def same(n: int) -> int:
    return n


@workflow
def flow(n: int = 3) -> int:
    """A title

    A description.

    __metadata__:
        display_name: A title
        author:
            name: A
    Args:
        n:
          A number.

          __metadata__:
            display_name: N
    """
    return same(n=n)
