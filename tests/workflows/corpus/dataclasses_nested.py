# result: ["s:2:a", {"name": "t", "files": [], "inner": {"depth": 5}}]
# inputs: --sample '{"name": "s", "files": ["a.txt"], "inner": {"depth": 2}}'
from dataclasses import dataclass, field
from typing import List, Union

from latch import small_task, workflow
from latch.types import LatchFile


@dataclass
class Inner:
    depth: int = 1


@dataclass
class Base:
    name: str


@dataclass
class Sample(Base):
    files: List[LatchFile] = field(default_factory=list)
    inner: Inner = field(default_factory=Inner)


@small_task
def shows(sample: Sample) -> str:
    names = ",".join(open(f.local_path).read() for f in sample.files)
    return f"{sample.name}:{sample.inner.depth}:{names}"


@small_task
def makes(name: str) -> Sample:
    return Sample(name, inner=Inner(5))


@workflow
def flow(sample: Sample) -> List[Union[str, Sample]]:
    return [shows(sample=sample), makes(name="t")]
