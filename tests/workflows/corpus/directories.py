# result: ["LatchDir deep", "LatchFile x.txt", "latch:///d"]
from pathlib import Path
from typing import List

from latch import small_task, workflow
from latch.types.directory import LatchDir, LatchOutputDir


@small_task
def makes(out: LatchOutputDir) -> LatchDir:
    Path("d/deep").mkdir(parents=True)
    Path("d/x.txt").write_text("x")
    return LatchDir("d", out.remote_directory)


@small_task
def shows(folder: LatchDir) -> List[str]:
    assert folder.size() == folder.size_recursive() == 1
    found = [f"{type(each).__name__} {Path(each.path).name}" for each in folder.iterdir()]
    return [*found, folder.remote_path]


@workflow
def flow(out: LatchOutputDir = LatchOutputDir("latch:///d")) -> List[str]:
    return shows(folder=makes(out=out))
