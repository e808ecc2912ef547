# result: [{"a": [1, 3], "b": 2}, [["k", [1, 2]]], [["x", 1], ["x", 2]], ["ab"]]
import re
from typing import List

from latch import combine, group_tuple, latch_filter, left_join, small_task, workflow
from latch.functions.operators import inner_join, outer_join, right_join


@small_task
def shows() -> List[object]:
    left, right = {"a": 1, "b": 2}, {"a": 3, "c": 4}
    assert inner_join(left, right) == {"a": [1, 3]}
    assert right_join(left, right) == {"a": [1, 3], "c": 4}
    assert outer_join(left, right) == {"a": [1, 3], "b": 2, "c": 4}
    return [left_join(left, right), group_tuple([("k", 1), ("k", 2)]), combine(["x"], [1, 2]),
            latch_filter(["ab", "c"], re.compile("a"))]


@workflow
def flow() -> List[object]:
    return shows()
