# result: ["large", "none"]
from typing import List, Optional

from latch.resources.conditional import create_conditional_section
from latch.resources.tasks import small_task
from latch.resources.workflow import workflow


@small_task
def count(n: int) -> int:
    return n


@small_task
def says(text: str) -> str:
    return text


@small_task
def nothing() -> Optional[int]:
    return None


@workflow
def flow(n: int = 7) -> List[str]:
    size = (create_conditional_section("size").if_(count(n=n) <= 3).then(says(text="small"))
            .elif_(count(n=n) == 5).then(says(text="five")).else_().then(says(text="large")))
    empty = create_conditional_section("empty").if_(nothing().is_none()).then(
        says(text="none")).else_().fail("there is one")
    return [size, empty]
