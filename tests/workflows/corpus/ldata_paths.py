# result: ["a", true, "a.txt", 1]
# inputs: --file a.txt
from typing import List, Union

from latch import small_task, workflow
from latch.ldata.path import LPath
from latch.ldata.type import LatchPathError, LDataNodeType
from latch.types import LatchFile


@small_task
def shows(file: LatchFile) -> List[Union[str, bool, int]]:
    path = LPath(file.local_path)
    here = path.download("copy.txt")
    (LPath("out") / "x.txt").upload_from(here)
    return [open("out/x.txt").read(), path.exists(), path.name(), path.size()]


@workflow
def flow(file: LatchFile) -> List[Union[str, bool, int]]:
    return shows(file=file)
