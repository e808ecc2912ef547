# result: ["latch:///r/a.txt a b 1", "latch:///r/a.txt a None 5", "(43, 'x')", "(None, <Color.BLUE: 'blue'>)", "(2, [])", ["1:10", "2:None"], "AIn(x=7, y={'k': [8]})", {"a": 1, "b": [2, 1]}, 2, [2, null], "[User(name=None, handle='h')]", null]
# inputs: --users '[{"handle":"h"}]' --which x
"""Values and constructs of public bug reports.

flyte#3187, flyte#5988, flyte#6006, flyte#2424, flyte#3784, flyte#5667, flyte#2730, flyte#3831, flyte#5569, flyte#6426,
flyte#6241, flytekit#1144, flytekit#2531.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, List, NamedTuple, Optional, Union

from flytekit import FlyteFile, Resources, conditional, dynamic
from latch import map_task, small_task, workflow
from latch.types import LatchDir, LatchFile


class Color(Enum):
    BLUE = "blue"


@dataclass
class Out:
    one: FlyteFile
    two: Optional[FlyteFile] = None
    folder: Union[int, LatchDir] = 3


@dataclass
class User:
    name: str = None
    handle: str = None


@dataclass
class AIn:
    x: int
    y: Any = None


@dataclass
class AOut:
    a: int
    b: List[int]


class Pair(NamedTuple):
    n: int
    file: Optional[LatchFile]


@small_task
def makes(n: int) -> Out:
    for name in ("a", "b"):
        Path(f"{name}.txt").write_text(name)
    Path("d").mkdir()
    Path("d/x").touch()
    return Out(FlyteFile("a.txt", remote_path="latch:///r/a.txt"), FlyteFile("b.txt") if n else None, "d" if n else 5)


@small_task
def reads(out: Out) -> str:
    two = open(out.two.path).read() if out.two else None
    size = out.folder if isinstance(out.folder, int) else len(out.folder.iterdir())
    return f"{out.one.remote_source} {open(out.one).read()} {two} {size}"


@small_task
def either(a: Optional[int], b: Union[List[str], str, Color]) -> str:
    return repr((a, b))


@small_task
def one(a: int = 1) -> int:
    return a


@small_task
def pair(n: int, k: int) -> Pair:
    Path("p").write_text(str(n * k))
    return Pair(n, LatchFile("p", "latch:///r/p") if n % 2 else None)


@small_task
def shown(pairs: List[Pair]) -> List[str]:
    return [f"{p.n}:{Path(p.file).read_text() if p.file else None}" for p in pairs]


@small_task
def text(value: Any) -> str:
    return repr(value)


@workflow
def wrapped(i: AIn) -> AOut:
    return AOut(a=i.x, b=[i.y, one(a=i.x)])


@dynamic
def grows(cpu: str, opt: Optional[int] = None) -> List[Optional[int]]:
    assert opt is None
    return [one(a=2).with_overrides(limits=Resources(cpu=cpu, mem="100Mi")), opt]


@small_task
def fails(n: int) -> bool:
    raise ValueError("it is in a branch that is not taken")


@workflow
def silent(n: int) -> None:
    (conditional("inner").if_(one(a=n) == 1).then(one(a=1)).else_().then(fails(n=n)))


@workflow
def flow(users: List[User], which: Union[List[str], str, Color], none: List[str] = []) -> List[Any]:
    quiet = conditional("outer").if_(one(a=1) == 1).then(silent(n=1)).else_().then(silent(n=2))
    done = wrapped(i=AIn(x=one(a=1), y=one(a=2)))
    return [reads(out=makes(n=1)), reads(out=makes(n=0)), either(a=43, b=which), either(a=None, b=Color.BLUE),
            either(a=one(a=2), b=none), shown(pairs=map_task(functools.partial(pair, k=one(a=10)))(n=[1, 2])),
            text(value=AIn(x=one(a=7), y={"k": [one(a=8)]})), done, one(a=done.b[0]), grows(cpu="1"),
            text(value=users), quiet]
