"""Cached tasks. Each appends a line to a file, so that a test sees which tasks ran."""

from __future__ import annotations

import time
from pathlib import Path
from typing import List

from latch.resources.tasks import cached_small_task
from nfresume_metadata import LatchDir, LatchFile

from nfresume.tasks import map_task, small_task, task, workflow

HERE = Path(__file__).parent


def ran(name: str, value: object = "") -> None:
    with (HERE / "ran.txt").open("a") as file:
        file.write(f"{name} {value}\n")


@small_task(cache=True)
def square(n: int, offset: int = 0) -> int:
    """Its docstring."""
    ran("square", n)
    return n * n + offset  # a comment


@cached_small_task("1.0")
def versioned(n: int) -> int:
    ran("versioned", n)
    return n + 1


@task
def uncached(n: int) -> int:
    ran("uncached", n)
    return n


@task(cache=True)
def size(file: LatchFile, folder: LatchDir) -> int:
    ran("size")
    return sum(p.stat().st_size for p in [Path(file), *Path(folder).rglob("*")] if p.is_file())


@task(cache=True)
def write(text: str) -> LatchDir:
    ran("write", text)
    Path("out/deep").mkdir(parents=True)
    Path("out/deep/a.txt").write_text(text)
    Path("out/link").symlink_to("deep/a.txt")
    return LatchDir("out")


@task
def spoil(folder: LatchDir) -> str:
    text = Path(folder, "deep/a.txt").read_text()
    Path(folder, "deep/a.txt").write_text("spoilt by a reader")
    return text


@task(cache=True, cache_serialize=True)
def slow(n: int) -> int:
    ran("slow", n)
    time.sleep(1)
    return n


@workflow
def main(n: int = 3) -> int:
    return square(n=n)


@workflow
def other(n: int = 3) -> int:
    return versioned(n=square(offset=0, n=n))


@workflow
def never(n: int = 3) -> int:
    return uncached(n=n)


@workflow
def sizes(file: LatchFile, folder: LatchDir) -> int:
    return size(folder=folder, file=file)


@workflow
def spoilt() -> str:
    return spoil(folder=write(text="whole"))


@workflow
def mapped(items: List[int]) -> List[int]:
    return map_task(square)(n=items)


@workflow
def once(n: int = 1) -> int:
    return slow(n=n)
