# result: ["reports/one.txt", true]
from pathlib import Path
from typing import List

from latch import small_task, workflow
from latch.types import LatchDir, LatchOutputDir


@small_task
def make(output_directory: LatchOutputDir) -> LatchOutputDir:
    folder = Path("/root/outputs")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "one.txt").write_text("one")
    return LatchOutputDir(str(folder), output_directory.remote_path)


@small_task
def names(outdir: LatchOutputDir) -> List[object]:
    path = f"{outdir.remote_path}/one.txt".removeprefix("latch:///")
    return [path, (Path(outdir.local_path) / "one.txt").exists()]


@workflow
def flow(output_directory: LatchOutputDir = LatchOutputDir("latch:///reports")) -> List[object]:
    made = make(output_directory=output_directory)
    return names(outdir=made)
