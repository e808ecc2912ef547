"""Tasks that write outside of their folder, and to their inputs, as tasks of Latch's containers do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import List

from nfresume_metadata import LatchDir, LatchFile, LatchOutputDir

from nfresume.tasks import map_task, small_task, task, workflow


@task
def one_path(n: int) -> LatchFile:
    """Each call writes the same paths in each way that Latch files use, and looks again a little later."""
    Path("/root/rooted").mkdir(exist_ok=True)
    Path("/root/rooted/python.txt").write_text(f"{n}")
    script = f"echo -n {n} > /tmp/rooted.txt; cp /tmp/rooted.txt /root/rooted/shell.txt"
    subprocess.run(["bash", "-c", script], check=True)
    os.chdir("/root/rooted")
    with open("relative.txt", "w") as file:
        file.write(f"{n}")
    time.sleep(0.05)
    names = ["python.txt", "shell.txt", "relative.txt", "/tmp/rooted.txt"]
    Path("all.txt").write_text(" ".join(Path(name).read_text() for name in names))
    return LatchFile("/root/rooted/all.txt")


@task
def read(file: LatchFile) -> str:
    return Path(file.local_path).read_text()


@workflow
def mapped(n: int = 8) -> List[str]:
    return map_task(read)(file=map_task(one_path)(n=list(range(n))))


@task
def edits(file: LatchFile, folder: LatchDir) -> List[LatchFile]:
    """Changes its inputs in place, writes beside them, and removes one."""
    with open(file.local_path, "a") as opened:
        opened.write("+edited")
    Path(f"{file.local_path}.bai").write_text("index")
    Path(folder.local_path, "gone.txt").unlink()
    Path(folder.local_path, "kept.txt").write_text("changed")
    kept = Path(folder.local_path, "kept.txt")
    return [LatchFile(file.local_path), LatchFile(f"{file.local_path}.bai"), LatchFile(str(kept))]


@workflow
def edited(file: LatchFile, folder: LatchDir) -> List[str]:
    files = edits(file=file, folder=folder)
    again = edits(file=file, folder=folder)
    return [read(file=files[0]), read(file=files[1]), read(file=files[2]), read(file=again[0])]


@task
def moves(file: LatchFile, folder: LatchDir) -> int:
    """Moves its inputs away, as `shutil.move(reads.local_path, folder)` does in public files. Their bytes."""
    os.mkdir("reads")
    places = [shutil.move(each.local_path, "reads") for each in (file, folder)]
    assert not os.path.lexists(file.local_path)
    assert not os.path.lexists(folder.local_path)
    return sum(path.stat().st_size for path in Path("reads").rglob("*") if path.is_file()) if places else 0


@task
def renames(file: LatchFile, folder: LatchDir) -> int:
    """Renames its inputs to elsewhere, as if all were one file system. Their bytes."""
    os.mkdir("there")
    with open("file", "w") as there:
        there.write("it is replaced")
    Path(file.local_path).rename("file")
    os.replace(folder.local_path, "there")
    assert not os.path.lexists(file.local_path)
    assert not os.path.lexists(folder.local_path)
    return sum(path.stat().st_size for path in [Path("file"), *Path("there").iterdir()])


@workflow
def moved(file: LatchFile, folder: LatchDir) -> List[int]:
    return [moves(file=file, folder=folder), renames(file=file, folder=folder)]


@task
def passes(file: LatchFile) -> LatchFile:
    return LatchFile(file.local_path)


@workflow
def passed(file: LatchFile) -> LatchFile:
    return passes(file=file)


@task
def fills(out: LatchOutputDir, text: str) -> LatchDir:
    Path(out.local_path).mkdir(parents=True, exist_ok=True)
    Path(out.local_path, "filled.txt").write_text(text)
    return LatchDir(out.local_path)


@workflow
def filled(out: LatchOutputDir, text: str = "here") -> LatchDir:
    return fills(out=out, text=text)


@task
def ends(how: str) -> int:
    if how == "exit":
        print("called once", file=sys.stderr)
        os._exit(199)
    if how == "signal":
        os.abort()
    return 1


@workflow
def ending(how: str) -> int:
    return ends(how=how)


@small_task(timeout=1)
def cleans(place: str) -> int:
    """Answers SIGTERM by a clean-up that takes a while."""
    import signal

    def clean(*_: object) -> None:
        time.sleep(0.5)
        Path(place, "cleaned").write_text("x")
        sys.exit(1)

    signal.signal(signal.SIGTERM, clean)
    time.sleep(60)
    return 1


@workflow
def cleaned(place: str) -> int:
    return cleans(place=place)
