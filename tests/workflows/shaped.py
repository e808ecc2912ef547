"""Cached tasks whose results are of the workflow's own classes, and tasks whose outputs are odd."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, List, NamedTuple, Optional

from nfresume_metadata import LatchDir, LatchFile

from nfresume.tasks import small_task, workflow

HERE = Path(__file__).parent


def ran(name: str, value: object = "") -> None:
    with (HERE / "ran.txt").open("a") as file:
        file.write(f"{name} {value}\n")


class Span(NamedTuple):
    low: int
    high: int


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Inner:
    depth: int = 1


@dataclass
class Sample:
    name: str
    size: int = 1
    inner: Inner = field(default_factory=Inner)


class Plain:
    def __init__(self, n: int) -> None:
        self.n = n


@small_task(cache=True)
def span(n: int) -> Span:
    ran("span", n)
    return Span(low=0, high=n)


@small_task(cache=True)
def sample(colour: Colour) -> List[Sample]:
    ran("sample", colour.value)
    return [Sample(colour.name, 2)]


@small_task(cache=True)
def anything(n: int) -> Any:
    ran("anything", n)
    return {"sample": Sample("s", n), "colour": Colour.RED, "span": Span(1, 2)}


@small_task(cache=True)
def plain(n: int) -> Any:
    ran("plain", n)
    return Plain(n)


@small_task
def show(a: Span, b: List[Sample], c: Any, d: Any) -> List[str]:
    return [repr(a), repr(b), repr(c), str(d.n)]


@workflow
def kinds(n: int = 3, colour: Colour = Colour.RED) -> List[str]:
    return show(a=span(n=n), b=sample(colour=colour), c=anything(n=n), d=plain(n=n))


@small_task
def odd(how: str) -> Optional[LatchFile]:
    Path("a.txt").write_text("a")
    Path("folder").mkdir()
    if how == "missing":
        return LatchFile("aligned.bam", "latch:///aligned.bam")
    if how == "folder":
        return LatchFile("folder")
    if how == "fifo":
        os.mkfifo("pipe")
        return LatchFile("pipe")
    if how == "dangling":
        Path("link").symlink_to("nowhere")
        return LatchFile("link")
    if how == "text":
        sys.exit("no reads are left")
    if how == "exit":
        sys.exit(0)
    return LatchFile("a.txt")


@small_task
def odd_folder(how: str) -> LatchDir:
    out = Path("out")
    (out / "deep").mkdir(parents=True)
    (out / "deep/a.txt").write_text("inside")
    Path("beside.txt").write_text("beside")
    Path("tree").mkdir()
    Path("tree/b.txt").write_text("b")
    if how == "nothing":
        return None
    if how == "cwd":
        return LatchDir(os.getcwd(), "latch:///cwd")
    if how == "above":
        return LatchDir(str(Path.cwd().parent))
    if how == "file":
        return LatchDir("beside.txt")
    if how == "dangling":
        (out / "link").symlink_to("/nonexistent/x")
    elif how == "loop":
        (out / "link").symlink_to(Path.cwd())
    elif how == "fifo":
        os.mkfifo(out / "pipe")
    else:
        (out / "inner").symlink_to((out / "deep/a.txt").absolute())
        (out / "outer").symlink_to(Path("beside.txt").absolute())
        (out / "relative").symlink_to("../beside.txt")
        (out / "tree").symlink_to(Path("tree").absolute())
        (out / "host").symlink_to(HERE / "host.txt")
    return LatchDir(str(out), "latch:///out")


@workflow
def file(how: str = "") -> Optional[LatchFile]:
    return odd(how=how)


@workflow
def folder(how: str = "") -> LatchDir:
    return odd_folder(how=how)


@small_task(cache=True)
def links() -> LatchDir:
    ran("links")
    Path("out").mkdir()
    Path("beside.txt").write_text("beside")
    Path("out/link").symlink_to(Path("beside.txt").absolute())
    return LatchDir("out")


@small_task(cache=True)
def read(folder: LatchDir) -> List[str]:
    ran("read")
    return sorted(f"{p.name}={p.read_text()}" for p in Path(folder).rglob("*") if p.is_file())


@workflow
def cached_links() -> List[str]:
    return read(folder=links())


@workflow
def reads(folder: LatchDir) -> List[str]:
    return read(folder=folder)


@workflow
def without_return(how: str = "") -> LatchDir:
    odd_folder(how=how)
