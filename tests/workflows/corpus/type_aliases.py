# result: ["3", "a a 3 fast", "o None 3 fast", "2"]
# inputs: --counts '[1, 2]' --reads a.txt --more a.txt --pairs '[[1, 2]]' --sample '{"reads": "a.txt", "v": 3}'
import enum
from dataclasses import dataclass
from typing import Generic, List, Tuple, TypeVar, Union

from flytekit import task, workflow
from latch.types import LatchFile
from typing_extensions import TypeAliasType  # as `type Counts = list[int]` of Python 3.12


class Mode(enum.Enum):
    fast = "fast"


T = TypeVar("T")
Counts = TypeAliasType("Counts", List[int])
Reads = TypeAliasType("Reads", LatchFile)
More = TypeAliasType("More", Union[Reads, None])
Pairs = TypeAliasType("Pairs", List[Tuple[T, T]], type_params=(T,))


@dataclass
class Sample(Generic[T]):
    reads: Reads
    v: T
    mode: TypeAliasType("How", Mode) = Mode.fast


@task
def made() -> Reads:
    with open("o.txt", "w") as file:
        file.write("o")
    return "o.txt"


@task
def read(reads: Reads, more: More, sample: Sample[int]) -> str:
    beside = more and open(more.local_path).read()
    return f"{open(reads.local_path).read()} {beside} {sample.v} {sample.mode.name}"


@workflow
def flow(counts: Counts, reads: Reads, more: More, pairs: Pairs[int], sample: Sample[int]) -> List[str]:
    return [str(sum(counts)), read(reads=reads, more=more, sample=sample),
            read(reads=made(), more=None, sample=sample), str(pairs[0][0] + 1)]
