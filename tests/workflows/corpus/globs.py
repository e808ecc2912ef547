# result: ["latch:///out/1.txt", "latch:///out/2.txt"]
from pathlib import Path
from typing import List

from latch import small_task, workflow
from latch.types import LatchFile, file_glob
from latch.types.glob import file_glob as also


@small_task
def writes() -> List[LatchFile]:
    for n in (2, 1):
        Path(f"{n}.txt").write_text("x")
    assert len(also("*.txt", "latch:///out/", Path.cwd())) == 2
    return file_glob("*.txt", "latch:///out/")


@small_task
def places(files: List[LatchFile]) -> List[str]:
    return [file.remote_path for file in files]


@workflow
def flow() -> List[str]:
    return places(files=writes())
