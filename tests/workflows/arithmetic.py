"""Tasks of every form. Each appends a line to a file, so that a test sees which tasks ran."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Tuple, Union

from nfresume_metadata import LatchFile

from nfresume.tasks import custom_task, map_task, small_task, task, workflow

HERE = Path(__file__).parent


def ran(name: str, value: object = "") -> None:
    """Append a line for a call that ran. Appending a short line is atomic."""
    with (HERE / "ran.txt").open("a") as file:
        file.write(f"{name} {value}\n")


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Sample:
    name: str
    size: int = 1


class Both(NamedTuple):
    low: int
    high: int


@task
def add(a: int, b: int = 1) -> int:
    ran("add", f"{a}+{b}")
    return a + b


@small_task
def split(n: int) -> Tuple[int, int]:
    ran("split", n)
    return n // 2, n - n // 2


@small_task(retries=2)
def ends(n: int) -> Both:
    ran("ends", n)
    return Both(low=0, high=n)


def _times(a: int, b: int) -> int:
    ran("times", f"{a}*{b}")
    return a * b


times = task(_times)


@task
def numbers(n: int) -> List[int]:
    ran("numbers", n)
    return list(range(n))


@task
def total(values: List[int]) -> int:
    ran("total", sum(values))
    return sum(values)


@workflow
def inner(n: int) -> int:
    low, high = split(n=n)
    return times(a=low, b=high)


@workflow
def everything(n: int = 6) -> Dict[str, int]:
    found = ends(n=n)
    loop = [add(a=i) for i in range(3)]
    listed = numbers(n=3)
    each = map_task(partial(add, b=10))(a=listed)
    later = [add(a=value, b=100) for value in listed]
    return {"nested": inner(n=n), "low": found.low, "high": found[1], "loop": total(values=loop),
            "each": total(values=each), "later": total(values=later)}


@task
def fails(n: int) -> int:
    ran("fails", n)
    raise ValueError(f"no luck with {n}\nin two lines")


@workflow
def one_fails(n: int = 1) -> int:
    independent = add(a=n, b=5)
    return times(a=fails(n=n), b=independent)


@task(retries=2)
def third_time(n: int) -> int:
    ran("third_time", n)
    if (HERE / "ran.txt").read_text().count("third_time") < 3:
        os._exit(7)
    return n


@workflow
def retried(n: int = 1) -> int:
    return third_time(n=n)


@task(timeout=1)
def endless() -> int:
    ran("endless")
    os.system("sleep 600")  # a child process that must be stopped, too
    return 1


@workflow
def times_out() -> int:
    return endless()


@custom_task(cpu=lambda size: size, memory=1)
def sized(size: int) -> float:
    began = time.time()
    time.sleep(0.4)
    ran("sized", f"{began:.3f} {time.time():.3f}")
    return began


@workflow
def side_by_side(size: int = 1) -> List[float]:
    return [sized(size=size) for _ in range(2)]


@task
def describe(
    count: int, ratio: float, name: str, flag: bool, colour: Colour, maybe: Optional[int],
    either: Union[int, str], items: List[int], table: Dict[str, float], sample: Sample, place: Path,
    when: datetime,
) -> str:
    return repr((count, ratio, name, flag, colour.name, maybe, either, items, table, sample.name, sample.size,
                 type(place).__name__, when.isoformat()))


@workflow
def typed(
    count: int, ratio: float, name: str, flag: bool, colour: Colour, items: List[int],
    table: Dict[str, float], sample: Sample, place: Path, when: datetime,
    maybe: Optional[int] = None, either: Union[int, str] = 0,
) -> str:
    return describe(count=count, ratio=ratio, name=name, flag=flag, colour=colour, maybe=maybe, either=either,
                    items=items, table=table, sample=sample, place=place, when=when)


@task
def where() -> Dict[str, str]:
    print("to standard output")
    print("to standard error", file=sys.stderr)
    Path("left-here.txt").write_text("x")
    return {"pid": str(os.getpid()), "cwd": os.getcwd()}


@workflow
def places() -> List[Dict[str, str]]:
    return [where(), where()]


@task
def same(file: LatchFile) -> LatchFile:
    return file


@task
def count(files: List[LatchFile]) -> int:
    return sum(len(Path(file).read_text()) for file in files)


@workflow
def many(files: List[LatchFile]) -> Tuple[int, LatchFile]:
    return count(files=[same(file=file) for file in files[:3]] + files[3:]), same(file=files[0])


@task
def slow(n: int) -> int:
    ran("slow", n)
    time.sleep(600)
    return n


@workflow
def waits(n: int = 1) -> int:
    return slow(n=add(a=n))
