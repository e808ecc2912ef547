# result: 3
from latch.resources.tasks import small_task
from latch.resources.workflow import workflow
from latch.types import (
    DockerMetadata,
    Fork,
    ForkBranch,
    LatchAppearanceType,
    LatchAuthor,
    LatchDir,
    LatchFile,
    LatchMetadata,
    LatchOutputDir,
    LatchOutputFile,
    LatchParameter,
    LatchRule,
    Params,
    Section,
    Spoiler,
    Text,
    file_glob,
)


@small_task
def same(n: int) -> int:
    return n


@workflow(LatchMetadata("Name", LatchAuthor("A"), parameters={"n": LatchParameter("N")}))
def flow(n: int = 3) -> int:
    return same(n=n)
