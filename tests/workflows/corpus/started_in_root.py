# result: ["m", "a.txt", "deep"]
import os
from pathlib import Path
from typing import List

from latch import small_task, workflow
from latch.types import LatchDir, LatchFile


@small_task
def merged() -> LatchFile:
    Path("merged.txt").write_text("m")
    return LatchFile("/root/merged.txt", "latch:///x/merged.txt")


@small_task
def folder() -> LatchDir:
    os.makedirs("/root/out_dir")
    Path("/root/out_dir/a.txt").write_text("a")
    return LatchDir("out_dir")


@small_task
def deep() -> LatchFile:
    os.makedirs("results/one")
    Path("results/one/b.txt").write_text("deep")
    return LatchFile("/root/results/one/b.txt")


@small_task
def shows(file: LatchFile, folder: LatchDir, other: LatchFile) -> List[str]:
    return [open(file).read(), *os.listdir(folder), open(other).read()]


@workflow
def flow() -> List[str]:
    return shows(file=merged(), folder=folder(), other=deep())
