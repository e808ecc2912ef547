"""Cached tasks with frames, arrays and dataclasses. The import of numpy starts threads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List

import numpy
import pandas

from nfresume.tasks import Cache, dynamic, map_task, task, workflow

HERE = Path(__file__).parent


def ran(name: str, value: object = "") -> None:
    with (HERE / "ran.txt").open("a") as file:
        file.write(f"{name} {value}\n")


@dataclass
class Sample:
    name: str
    depth: int = 1


@task(cache=True)
def table(rows: List[int], sample: Sample, weights: Dict[str, float]) -> pandas.DataFrame:
    ran("table")
    return pandas.DataFrame({"row": rows, "weight": [weights["a"]] * len(rows), "name": sample.name})


@task(cache=True)
def mean(frame: pandas.DataFrame, array: numpy.ndarray) -> float:
    ran("mean")
    return float(frame["row"].mean() + array.mean())


@task(cache=True)
def array(n: int) -> numpy.ndarray:
    ran("array")
    return numpy.arange(n, dtype=float)


@workflow
def science(count: int = 1000) -> float:
    made = table(rows=list(range(count)), sample=Sample("s"), weights={"a": 1.5, "b": 2.0})
    return mean(frame=made, array=array(n=count))


@dynamic
def again(first: numpy.ndarray) -> numpy.ndarray:
    return array(n=len(first)).with_overrides(cache=Cache(salt="other"))


@workflow
def salted(count: int = 2) -> numpy.ndarray:
    """The options of the second call are known when the first one has ended."""
    return again(first=array(n=count))


@task
def draw(at: int) -> float:
    return float(numpy.random.rand())


@workflow
def draws(at: List[int] = [1, 2, 3]) -> List[float]:
    return map_task(draw)(at=at)
