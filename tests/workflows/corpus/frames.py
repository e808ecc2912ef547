# result: [[1, 2], 3.0]
from typing import List

import numpy as np
import pandas as pd

from latch import small_task, workflow


@small_task
def frame(n: int) -> pd.DataFrame:
    return pd.DataFrame({"a": np.arange(1, n + 1)})


@small_task
def total(frame: pd.DataFrame) -> float:
    return float(frame["a"].sum())


@small_task
def column(frame: pd.DataFrame) -> List[int]:
    return frame["a"].tolist()


@workflow
def flow(n: int = 2) -> List[object]:
    made = frame(n=n)
    return [column(frame=made), total(frame=made)]
