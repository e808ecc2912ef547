# result: [{"x": 3, "names": ["a"], "file": "here", "folder": ["a.txt"], "inner": 0.5}, [0, 1, 2], true]
# inputs: --sample '{"x": 2, "file": "a.txt", "inner": {"y": 0.5}}'
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

from latch import small_task, workflow
from latch.types import LatchDir, LatchFile
from pydantic import BaseModel, Field


class Inner(BaseModel):
    y: float = 1.0


class Sample(BaseModel):
    x: int = Field(gt=1)
    names: List[str] = ["a"]
    file: LatchFile
    folder: Optional[LatchDir] = None
    inner: Inner = Inner()


@small_task(cache=True)
def fills(sample: Sample) -> Sample:
    Path("file.txt").write_text("here")
    Path("made").mkdir()
    Path("made/a.txt").touch()
    assert sample.file.open().read() == "a"
    return Sample(x=sample.x + 1, file=LatchFile("file.txt"), folder=LatchDir("/root/made"), inner=sample.inner)


@small_task
def shows(sample: Sample) -> Dict[str, Any]:
    return {"x": sample.x, "names": sample.names, "file": sample.file.open().read(),
            "folder": [Path(each.path).name for each in sample.folder.iterdir()], "inner": sample.inner.y}


@small_task
def counts(n: int) -> Iterator[int]:
    yield from range(n)


@small_task
def same(sample: Sample, text: str) -> bool:
    return Sample.model_validate({"x": 5, "file": text}).file == LatchFile(text) and isinstance(sample, BaseModel)


@workflow
def flow(sample: Sample) -> list:
    return [shows(sample=fills(sample=sample)), counts(n=sample.x + 1), same(sample=sample, text="t")]
