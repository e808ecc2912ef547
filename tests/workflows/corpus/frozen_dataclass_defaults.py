# result: "x latch:///out"
from dataclasses import dataclass

from latch import small_task, workflow
from latch.types.directory import LatchDir, LatchOutputDir


@dataclass(frozen=True)
class Options:
    name: str = "x"
    out: LatchOutputDir = LatchOutputDir("latch:///out")


@small_task
def shows(options: Options) -> str:
    return f"{options.name} {options.out.remote_path}"


@workflow
def flow(options: Options = Options()) -> str:
    return shows(options=options)
