# result: ["0", "1", "2"]
import subprocess
import tempfile
from pathlib import Path
from typing import List

from latch import map_task, small_task, workflow
from latch.types.file import LatchFile


@small_task
def writes(n: int) -> LatchFile:
    subprocess.run(["sh", "-c", f"echo -n {n} > /tmp/result.txt"], check=True)
    with tempfile.NamedTemporaryFile("w", delete=False) as file:
        file.write(Path("/tmp/result.txt").read_text())
    return LatchFile(file.name)


@small_task
def reads(file: LatchFile) -> str:
    return Path(file.local_path).read_text()


@workflow
def flow(n: int = 3) -> List[str]:
    return map_task(reads)(file=map_task(writes)(n=list(range(n))))
