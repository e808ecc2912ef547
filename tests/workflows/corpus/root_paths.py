# result: ["0", "1", "2", "3"]
from pathlib import Path
from typing import List

from latch import map_task, small_task, workflow
from latch.types import LatchDir, LatchFile


@small_task
def writes(n: int) -> LatchDir:
    out = Path("/root/outputs")
    out.mkdir(parents=True, exist_ok=True)
    (out / "n.txt").write_text(str(n))
    return LatchDir("/root/outputs")


@small_task
def reads(folder: LatchDir) -> str:
    return "".join(Path(file).read_text() for file in folder.iterdir())


@workflow
def flow(n: int = 4) -> List[str]:
    return map_task(reads)(folder=map_task(writes)(n=list(range(n))))
