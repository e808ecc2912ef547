import typing
from dataclasses import dataclass
from enum import Enum

import typing_extensions
from flytekit.core.annotation import FlyteAnnotation
from latch.types.directory import LatchDir, LatchOutputDir
from latch.types.file import LatchFile
from latch.types.metadata import LatchRule, NextflowParameter, Params, Section


class Method(Enum):
    cpm = "cpm"
    tpm = "tpm"


@dataclass(frozen=True)
class Sample:
    name: str
    counts: LatchFile = LatchFile("data/counts.csv")


def never_called(*args):
    raise SystemExit("a samplesheet constructor ran during the load")


print("a metadata file may print")

flow = [Section("Input", Params("counts", "method"))]
generated_parameters = {
    "counts": NextflowParameter(
        type=typing.List[Sample],
        display_name="Counts",
        samplesheet=True,
        samplesheet_type="csv",
        samplesheet_constructor=never_called,
        rules=[LatchRule(regex=r".*\.csv$", message="must be a CSV file")],
    ),
    "method": NextflowParameter(type=Method, default=Method.cpm),
    "outdir": NextflowParameter(
        type=typing_extensions.Annotated[LatchDir, FlyteAnnotation({"output": True})],
        default=LatchOutputDir("latch:///results"),
    ),
}
