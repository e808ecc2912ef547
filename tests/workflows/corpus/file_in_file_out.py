# result: "out.txt:A"
# inputs: --file a.txt
import os
from pathlib import Path

from latch.resources.tasks import small_task
from latch.resources.workflow import workflow
from latch.types import LatchFile


@small_task
def upper(file: LatchFile) -> LatchFile:
    with open(file) as opened:
        text = opened.read().upper()
    out = Path("out.txt").resolve()
    out.write_text(text)
    return LatchFile(str(out), "latch:///results/out.txt")


@small_task
def shows(file: LatchFile) -> str:
    return os.path.basename(file.local_path) + ":" + Path(file).read_text()


@workflow
def flow(file: LatchFile) -> str:
    return shows(file=upper(file=file))
