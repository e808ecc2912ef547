# result: [6, "BLUE"]
# inputs: --colour blue
from __future__ import annotations

from enum import Enum
from typing import List, Union

from latch import small_task, workflow


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@small_task
def shows(n: int, colour: Colour) -> List[Union[int, str]]:
    return [2 * n, colour.name]


@workflow
def flow(n: int = 3, colour: Colour = Colour.RED) -> List[Union[int, str]]:
    return shows(n=n, colour=colour)
