# result: ["a", true, "a.txt", 1, ["dir", "obj"], "text/plain", true, false]
# inputs: --file a.txt
from latch import small_task, workflow
from latch.ldata.path import LPath
from latch.ldata.type import LatchPathError, LDataNodeType
from latch.types import LatchFile


@small_task
def shows(file: LatchFile) -> list:
    path = LPath(file.local_path)
    here = path.download("copy.txt")
    (LPath("out") / "x.txt").upload_from(here)
    found = [open("out/x.txt").read(), path.exists(), path.name(), path.size()]
    path.fetch_metadata()
    same = LPath(file.local_path)
    kinds = [LPath("out").type(), path.type()]
    assert kinds == [LDataNodeType.dir, LDataNodeType.obj]
    found += [kinds, path.content_type(), (path.node_id(), path.version_id()) == (same.node_id(), same.version_id())]
    LPath("out").rmr()
    return [*found, LPath("out").exists()]


@workflow
def flow(file: LatchFile) -> list:
    return shows(file=file)
