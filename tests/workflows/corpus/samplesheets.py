# result: ["a:1", "b:2", "c:3"]
# inputs: --rows '[{"name": "a", "n": 1}, {"data": {"name": "b", "n": 2}}]' --plain '[{"name": "c", "n": 3}]'
from dataclasses import dataclass
from typing import List

from latch import small_task, workflow
from latch.types.samplesheet_item import SamplesheetItem


@dataclass
class Row:
    name: str
    n: int


@small_task
def shows(rows: List[SamplesheetItem[Row]], plain: List[Row]) -> List[str]:
    return [f"{row.data.name}:{row.data.n}" for row in rows] + [f"{row.name}:{row.n}" for row in plain]


@workflow
def flow(rows: List[SamplesheetItem[Row]], plain: List[Row]) -> List[str]:
    return shows(rows=rows, plain=plain)
