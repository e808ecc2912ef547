"""Tasks that read and write remote files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import List

from latch.ldata.path import LPath
from latch.resources.tasks import small_task
from latch.resources.workflow import workflow
from latch.types import LatchDir, LatchFile, LatchOutputDir
from tests_ran import ran


@small_task(cache=True)
def first_line(file: LatchFile, times: int) -> str:
    ran("first_line", times)
    with open(file.local_path, "a") as opened:  # its own copy
        opened.write("edited\n")
    return times * Path(file).read_text().splitlines()[0]


@small_task
def listing(folder: LatchDir) -> List[str]:
    """Names and sizes without a download, then contents with one."""
    found = [f"{type(each).__name__} {Path(each.path).name}" for each in folder.iterdir()]
    top = Path(folder)
    return [*found, str(folder.size()), *sorted(
        f"{p.relative_to(top)}={p.read_text()}" for p in top.rglob("*") if p.is_file())]


@workflow
def reads(file: LatchFile, folder: LatchDir) -> List[str]:
    return [first_line(file=file, times=1), first_line(file=file, times=2), listing(folder=folder)]


@workflow
def line(file: LatchFile) -> str:
    return first_line(file=file, times=1)


@dataclass
class Sample:
    name: str
    reads: List[LatchFile]


@small_task
def makes(text: str) -> List[LatchFile]:
    Path("a.txt").write_text(text)
    folder = Path("folder/deep")
    folder.mkdir(parents=True)
    (folder / "b.txt").write_text(text)
    return [LatchFile("a.txt", "s3://bucket/out/a.txt"), LatchDir("folder", "s3://bucket/out/folder")]


@small_task
def checks(files: List[LatchFile], text: str) -> int:
    if text == "bad":
        raise ValueError("bad text")
    LPath("s3://bucket/out/by-hand.txt").upload_from(Path(files[0]))
    return LPath("s3://bucket/out/by-hand.txt").size()


@workflow
def writes(text: str) -> int:
    return checks(files=makes(text=text), text=text)


@workflow
def sample(sample: Sample, out: LatchOutputDir) -> str:
    return first_line(file=sample.reads[0], times=1)


@small_task
def places(out: LatchDir, mask: LatchFile, use: bool) -> LatchFile:
    Path("a.txt").write_text("a")
    if use or mask.remote_path != "latch:///":
        open(mask).close()
    return LatchFile("a.txt", f"{out.remote_path}/run/a.txt")


TOP, NO_FILE = LatchDir("latch:///top/"), LatchFile("latch:///")


@workflow
def placed(out: LatchDir = TOP, file: LatchFile = NO_FILE, mask: bool = False) -> LatchFile:
    return places(out=out, mask=file, use=mask)
