# result: ["a,b", 3, null, "k=1", 2]
# inputs: --names '["a", "b"]'
from typing import Dict, List, Optional, Tuple, Union

from latch import small_task, workflow


@small_task
def shows(names: List[str], both: Tuple[int, int], maybe: Optional[int], table: Dict[str, int],
          either: Union[int, str]) -> List[Union[str, int, None]]:
    pairs = ",".join(f"{k}={v}" for k, v in table.items())
    return [",".join(names), sum(both), maybe, pairs, either]


@workflow
def flow(names: List[str], both: Tuple[int, int] = (1, 2), maybe: Optional[int] = None,
         table: Dict[str, int] = {"k": 1}, either: Union[int, str] = 2) -> List[Union[str, int, None]]:
    return shows(names=names, both=both, maybe=maybe, table=table, either=either)
