"""Results whose names meet: of several tasks, of earlier launches, and those of a relaunch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from latch import small_task, workflow
from latch.types import LatchDir, LatchFile, LatchOutputDir, LatchOutputFile

BESIDE = LatchDir("beside")


def written(name: str, text: str) -> str:
    Path(name).write_text(text)
    return name


@small_task
def plain(name: str) -> LatchFile:
    return LatchFile(written(name, "plain"))


@small_task
def folder(name: str) -> LatchDir:
    Path(name).mkdir()
    written(f"{name}/a.txt", "in a folder")
    return LatchDir(name)


@small_task
def remote(path: str) -> LatchFile:
    return LatchFile(written("made.txt", "remote"), f"latch:///{path}")


@small_task
def remote_folder(path: str) -> LatchDir:
    for name in ("out", "out/deep"):
        Path(name).mkdir()
        written(f"{name}/a.txt", name)
    return LatchDir("out", f"latch:///{path}")


@small_task
def after(_file: LatchFile, _folder: LatchDir) -> LatchFile:
    if not Path("/absent").exists():
        raise ValueError("no luck")
    return LatchFile(written("deep.txt", "of the last task"), "latch:///tree/deep/a.txt")


@small_task
def scores() -> dict[str, Any]:
    return {"mean": np.float64(0.5), "count": np.int64(3), "flag": np.bool_(True), "all": np.arange(3) / 2,
            "none": np.float64("nan"), "bytes": b"x"}


@small_task(cache=True)
def align(sample: str, out: LatchOutputDir) -> LatchFile:
    return LatchFile(written("a.bam", "reads"), f"{out.remote_path}/{sample}/a.bam")


@small_task(cache=True)
def index_of(bam: LatchFile) -> LatchFile:
    return LatchFile(written("made.bai", "index"), f"{bam.remote_path}.bai")


@small_task
def fill(text: str, out: LatchOutputDir) -> LatchDir:
    Path(out.local_path).mkdir(exist_ok=True)
    Path(out.local_path, "a.txt").write_text(text)
    return out


@small_task(cache=True)
def look(folder: LatchDir) -> str:
    return Path(folder.local_path, "a.txt").read_text()


@workflow
def filled(out: LatchOutputDir, text: str) -> str:
    return look(folder=fill(text=text, out=out))


@workflow
def indexed(out: LatchOutputDir) -> list[LatchFile]:
    return [index_of(bam=align(sample=sample, out=out)) for sample in ("one", "two")]


@workflow
def plain_then_remote() -> tuple[LatchFile, LatchFile]:
    return plain(name="x.txt"), remote(path="x.txt")


@workflow
def only_plain() -> LatchFile:
    remote(path="x.txt")
    return plain(name="x.txt")


@workflow
def above_a_remote() -> tuple[LatchFile, LatchFile]:
    return plain(name="reports"), remote(path="reports/a.csv")


@workflow
def a_file(name: str = "out") -> LatchFile:
    return plain(name=name)


@workflow
def a_folder(name: str = "out") -> LatchDir:
    return folder(name=name)


@workflow
def a_remote_file(path: str) -> LatchFile:
    return remote(path=path)


@workflow
def a_remote_folder(path: str) -> LatchDir:
    return remote_folder(path=path)


@workflow
def fails_late() -> tuple[LatchFile, LatchDir, LatchFile]:
    file, tree = remote(path="file.txt"), remote_folder(path="tree")
    return file, tree, after(_file=file, _folder=tree)


@workflow
def numbers() -> dict[str, Any]:
    return scores()


print("the file is loaded")


@small_task
def shown(text: str, other: str) -> str:
    print("in the task")
    return repr((text, other))


@workflow
def prints(text: str, other: str = "o") -> str:
    print("in the workflow")
    return shown(text=text, other=other)


@small_task
def sample(place: LatchDir, name: str) -> LatchDir:
    Path("out").mkdir()
    written("out/a.txt", name)
    return LatchDir("out", f"{place.remote_path}/{name}")


@small_task
def table(place: LatchOutputFile, into: LatchOutputDir) -> list[LatchFile]:
    return [LatchFile(written("t.csv", "table"), place.remote_path),
            LatchFile(written("b.txt", "beside"), f"{into.remote_path}/b.txt")]


@workflow
def into_places(
    place: LatchOutputDir, file: LatchOutputFile, beside: LatchOutputDir = BESIDE
) -> list[LatchDir]:
    table(place=file, into=beside)
    sample(place=place, name="not returned")
    return [sample(place=place, name="one"), sample(place=place, name="two")]


@small_task
def index(file: LatchFile) -> LatchFile:
    return LatchFile(written("made.bai", "index"), f"{file.remote_path}.bai")


@small_task
def same(file: LatchFile) -> LatchFile:
    return LatchFile(file.local_path, file.remote_path)


@workflow
def beside_inputs(folder: LatchDir, file: LatchFile) -> LatchFile:
    sample(place=folder, name="one")
    index(file=file)
    return same(file=file)
