"""A file of a package, whose tasks use their working folder as on Latch: it is /root."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import List

from latch import map_task, small_task, workflow
from latch.types import LatchDir, LatchFile


@small_task
def reads() -> List[str]:
    """What it finds by relative and absolute paths. What is behind a dot is not of the workflow."""
    assert os.getcwd() == os.environ["PWD"] == "/root"
    Path("made.txt").write_text("made")
    Path("/root/other.txt").write_text("other")
    shell = subprocess.run("cat made.txt /root/made.txt other.txt data/a.csv", shell=True, check=True,
                           capture_output=True, text=True).stdout
    return [open("data/a.csv").read(), Path("/root/data/a.csv").read_text(), Path("top.csv").read_text(),
            Path("other.txt").read_text(), Path("/root/made.txt").read_text(), shell,
            str(os.path.lexists(".secret"))]


@small_task
def edits() -> List[LatchFile]:
    """Edits files of the package, and adds to a folder of it: nothing of that reaches the user's own."""
    with open("top.csv", "a") as file:
        file.write("+")
    Path("/root/data/a.csv").unlink()
    Path("data/b.csv").write_text("b")
    subprocess.run(["sed", "-i", "s/one/two/", "single.csv"], check=True)
    return [LatchFile("top.csv", "latch:///top.csv"), LatchFile("/root/data/b.csv", "latch:///b.csv"),
            LatchFile("single.csv", "latch:///single.csv"), LatchFile(Path("data/b.csv").resolve())]


@small_task
def one_path(n: int) -> LatchFile:
    Path("/root/one.txt").write_text(str(n)) if n % 2 else Path("one.txt").write_text(str(n))
    return LatchFile(Path("one.txt").resolve()) if n % 3 else LatchFile("/root/one.txt")


@small_task(cache=True)
def folder(n: int) -> LatchDir:
    """All that it wrote, wherever it is by then; nothing of the package."""
    Path("a.txt").write_text("a")
    os.makedirs("/root/deep/er")
    os.chdir("deep")
    Path("er/b.txt").write_text(str(n))
    os.symlink("er/b.txt", "c.txt")
    os.symlink("/root/deep/er/b.txt", "/root/d.txt")
    os.symlink("/root/data/a.csv", "/root/deep/e.csv")
    return LatchDir("/root", "latch:///all")


@small_task
def read(files: List[LatchFile]) -> List[str]:
    return [Path(file.local_path).read_text() for file in files]


@small_task
def names(folder: LatchDir) -> List[str]:
    top = Path(folder.local_path)
    return sorted(f"{p.relative_to(top)}: {p.read_text()}" for p in top.rglob("*") if p.is_file())


@workflow
def flow(n: int = 4) -> List[List[str]]:
    return [reads(), read(files=edits()), read(files=map_task(one_path)(n=list(range(n)))),
            names(folder=folder(n=n))]


@small_task
def takes(name: str) -> LatchDir:
    Path(name, "new.txt").write_text(str(len(os.listdir(name))))
    return LatchDir(name, "latch:///taken")


@small_task
def takes_all(name: str) -> LatchDir:
    assert os.listdir(name)
    return LatchDir(name, "latch:///taken")


@workflow
def taken(name: str) -> LatchDir:
    return takes(name=name)


@workflow
def all_taken(name: str) -> LatchDir:
    return takes_all(name=name)


@small_task
def fails() -> int:
    Path("evidence.txt").write_text("here")
    return 1 // 0


@workflow
def failing() -> int:
    return fails()
