"""Workflows like those of public bug reports."""

from __future__ import annotations

import functools
import os
import tempfile
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Dict, List, Optional, Union

from dataclasses_json import dataclass_json
from flytekit import Cache, FlyteDirectory, FlyteFile, HashMethod, conditional, map_task, task, workflow
from flytekit.exceptions.user import FlyteRecoverableException
from mashumaro.mixins.json import DataClassJSONMixin
from tests_ran import ran


class Kind(Enum):
    ONE = "one"
    TWO = "two"


@dataclass
class Box(DataClassJSONMixin):
    maybe: Optional[int] = None
    many: Optional[List[str]] = None
    kind: Kind = Kind.ONE
    table: Dict[str, Any] = field(default_factory=dict)


@dataclass_json
@dataclass
class Outer:
    box: Box
    names: List[int]


class Plain:
    def __init__(self, path: str) -> None:
        self.path = path


def path_of(plain: Plain) -> str:
    return plain.path


@task(cache=Cache(version="1.0"))
def created() -> FlyteFile:
    ran("created")
    with tempfile.NamedTemporaryFile(delete=False) as file:
        file.write(b"hello")
        file.flush()
        return FlyteFile(path=file.name)


@task
def renamed(file: FlyteFile) -> str:
    path = file.download()
    os.rename(path, path + ".processed")
    return Path(path + ".processed").read_text()


@workflow
def rename() -> str:
    return renamed(file=created())


@task(cache=True, cache_version="1")
def boxed(n: int) -> Outer:
    ran("boxed", n)
    return Outer(Box(n, ["a"], Kind.TWO, {"z": 1, "a": 2}), [1, 2])


@task(cache=True, cache_version="1")
def typed(box: Box, names: List[int]) -> str:
    ran("typed", box.maybe)
    return repr((box, names))


@workflow
def attributes() -> str:
    found = boxed(n=3)
    return typed(box=found.box, names=found.names)


@task
def numbers() -> List[int]:
    return [1, 2, 3]


@task
def none() -> List[int]:
    return []


@task
def joined(strings: List[int], num: int) -> str:
    return f"{num}".join(map(str, strings))


@task
def doubled(n: int) -> int:
    return 2 * n


@workflow
def maps(strings: List[int] = [7, 8, 9]) -> List[List[Any]]:
    found = numbers()
    return [map_task(functools.partial(joined, strings=found))(num=[1, 2]),
            map_task(functools.partial(joined, strings=strings))(num=[1, 2]),
            map_task(doubled)(n=[]), map_task(doubled)(n=none())]


@task
def statuses() -> List[Optional[bool]]:
    return [None, True]


@task
def maybe_box(n: int) -> Optional[Box]:
    return Box(n) if n > 5 else None


@task
def said(text: str) -> str:
    ran("said", text)
    return text


@workflow
def conditions(n: int = 6, flag: bool = False) -> List[str]:
    first = statuses()[0]
    found = maybe_box(n=n)
    number = doubled(n=n)
    return [
        conditional("indexed").if_(first.is_none()).then(said(text="none")).else_().then(said(text="some")),
        conditional("class").if_(found.is_none()).then(said(text="none")).else_().then(said(text="some")),
        conditional("outer").if_(flag.is_true()).then(
            conditional("inner").if_(number == 12).then(said(text="inner 12")).else_().fail("negative"),
        ).else_().then(said(text="outer")),
        conditional("range").if_((number > 0) & (number < 13)).then(said(text="in")).else_().then(
            said(text="out")),
    ]


@task(retries=2)
def recovers(n: int) -> int:
    ran("recovers", n)
    raise FlyteRecoverableException("again")


@workflow
def recover(n: int = 1) -> int:
    return recovers(n=n)


@task(cache=Cache(version="1.0"))
def hashed(record: Annotated[Plain, HashMethod(path_of)]) -> str:
    ran("hashed", record.path)
    return record.path


@task
def record() -> Annotated[Plain, HashMethod(path_of)]:
    return Plain("path/to/video")


@workflow
def hashes() -> str:
    return hashed(record=record())


@task
def folder() -> FlyteDirectory:
    made = Path(tempfile.mkdtemp())
    for n in range(3):
        (made / f"file{n}.txt").write_text(f"text {n}")
    return FlyteDirectory(made)


@task
def listed(folder: FlyteDirectory) -> List[FlyteFile]:
    return FlyteDirectory.listdir(folder)


@task
def read(file: FlyteFile) -> str:
    with open(file) as text:
        return text.read()


@workflow
def listing() -> List[str]:
    return map_task(read)(file=listed(folder=folder()))


@task(cache=True, cache_version="1.0")
def nothing(n: int) -> None:
    ran("nothing", n)


@task
def either(value: Union[int, str, Box]) -> str:
    return repr(value)


@workflow
def unions(value: Union[int, str] = "5") -> List[str]:
    return [either(value=value), either(value=5), either(value=Box(1)), either(value="5")]


BOX = Box(maybe=1, many=["x"])


@workflow
def defaults(box: Box = BOX) -> str:
    return typed(box=box, names=[1])


@workflow
def everything() -> List[Any]:
    nothing(n=1)
    return [rename(), attributes(), maps(), conditions(), hashes(), listing(), unions(), defaults()]
