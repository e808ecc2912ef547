"""A small workflow in the style of Latch files: trim reads, compute GC content by sample, write a report."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

from latch import map_task, medium_task, small_task, workflow
from latch.resources.launch_plan import LaunchPlan
from latch.types import LatchAuthor, LatchFile, LatchMetadata, LatchParameter


class Mode(Enum):
    fast = "fast"
    careful = "careful"


metadata = LatchMetadata(
    display_name="Assembly",
    author=LatchAuthor(name="A. Author"),
    parameters={
        "reads": LatchParameter(display_name="Reads", description="FASTQ files"),
        "mode": LatchParameter(display_name="Mode", section_title="How"),
    },
)


@small_task(cache=True)
def trim(reads: LatchFile, keep: int = 8) -> LatchFile:
    """Cut each read."""
    source = Path(reads.local_path)
    out = Path(f"trimmed-{source.name}")
    lines = source.read_text().splitlines()
    out.write_text("\n".join(line if line.startswith("@") else line[:keep] for line in lines) + "\n")
    print(f"trimmed {source.name}")
    return LatchFile(str(out))


@small_task
def gc_content(trimmed: LatchFile) -> float:
    sequence = "".join(line for line in Path(trimmed).read_text().splitlines() if not line.startswith("@"))
    return (sequence.count("G") + sequence.count("C")) / len(sequence)


@medium_task
def report(names: list[str], contents: list[float], mode: Mode, title: str | None) -> LatchFile:
    rows = "\n".join(f"{name},{value:.3f}" for name, value in zip(names, contents, strict=True))
    Path("report.csv").write_text(f"# {title or mode.value}\nsample,gc_contnet\n{rows}\n")
    column = Path("report.csv").read_text().splitlines()[1].partition(",")[2]
    if column != "gc_" + "content":
        raise ValueError(f"{column} is misspelt")
    return LatchFile("report.csv", "latch:///reports/report.csv")


@workflow(metadata)
def assemble(
    reads: list[LatchFile], mode: Mode = Mode.fast, keep: int = 8, title: str | None = None
) -> tuple[LatchFile, list[float]]:
    """Trim, count, report."""
    trimmed = [trim(reads=file, keep=keep) for file in reads]
    contents = map_task(gc_content)(trimmed=trimmed)
    names = [Path(file.path).stem for file in reads]
    return report(names=names, contents=contents, mode=mode, title=title), contents


LaunchPlan(assemble, "Test data", {"reads": [LatchFile("latch:///reads.fastq")]})
