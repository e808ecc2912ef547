# result: [2, ["a", 1], "data/a_R1.fq,data/a_R2.fq", ["a.txt"]]
"""Names that Latch's modules have without offering them, star imports, and remote paths of local inputs."""

import os
import shutil
from pathlib import Path

import latch.types.directory
from latch import small_task, workflow
from latch.functions.operators import *  # noqa: F403
from latch.functions.operators import List, _combine
from latch.types.directory import LatchDir, LatchFile, LatchOutputDir
from latch.types.utils import _is_valid_url


@small_task
def count(values: List[int]) -> int:
    return len(values) if _is_valid_url("latch:///x") and inner_join({}, {}) == {} else 0  # noqa: F405


@small_task
def pairs(values: List[str]) -> list:
    return _combine(values, [1])


@small_task
def reads() -> LatchDir:
    os.mkdir("data")
    for name in ("a_R1.fq", "a_R2.fq"):
        Path("data", name).write_text(name)
    return LatchDir("data")


@small_task
def names(folder: LatchDir) -> str:
    found = [file for file in folder.iterdir() if isinstance(file, latch.types.directory.LatchFile)]
    shutil.move(folder.local_path, "moved")
    return ",".join(sorted("/".join(file.remote_path.split("/")[-2:]) for file in found))


@small_task
def globbed(out: LatchOutputDir) -> List[LatchFile]:
    from latch.types import file_glob

    Path("a.txt").write_text("a")
    return file_glob("*.txt", out.remote_path)


@small_task
def base(files: List[LatchFile]) -> List[str]:
    return [os.path.basename(file.remote_path) for file in files]


@workflow
def flow(out: LatchOutputDir = LatchDir("out")) -> list:
    """Everything."""
    return [count(values=[1, 2]), pairs(values=["a"]), names(folder=reads()), base(files=globbed(out=out))]
