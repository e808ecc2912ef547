# result: ["a.txt", "deep/b.txt"]
import os
from pathlib import Path
from typing import List

from latch import small_task, workflow
from latch.types import LatchDir


@small_task
def writes() -> LatchDir:
    Path("a.txt").write_text("a")
    os.makedirs("deep", exist_ok=True)
    os.chdir("deep")
    Path("b.txt").write_text("b")
    os.chdir("..")
    return LatchDir(os.getcwd(), "latch:///all")


@small_task
def names(folder: LatchDir) -> List[str]:
    top = Path(folder.local_path)
    return sorted(str(p.relative_to(top)) for p in top.rglob("*") if p.is_file())


@workflow
def flow() -> List[str]:
    return names(folder=writes())
