# result: "x 3"
from pathlib import Path

from latch.resources.launch_plan import LaunchPlan
from latch.resources.tasks import small_task
from latch.resources.workflow import workflow
from latch.types.metadata import (
    Fork,
    ForkBranch,
    LatchAppearanceType,
    LatchAuthor,
    LatchMetadata,
    LatchParameter,
    LatchRule,
    Multiselect,
    MultiselectOption,
    Params,
    Section,
    Spoiler,
    Text,
    Title,
)

metadata = LatchMetadata(
    display_name="A workflow", documentation="README.md", wiki_url="x", tags=["a"],
    author=LatchAuthor(name="A", email="a@example.org", github="github.com/a"), repository="x", license="MIT",
    parameters={
        "text": LatchParameter(display_name="Text", appearance_type=LatchAppearanceType.paragraph,
                               rules=[LatchRule(regex="[a-z]+", message="only letters")]),
        "n": LatchParameter(display_name="N", batch_table_column=True, appearance_type=Multiselect(
            options=[MultiselectOption("three", 3)], allow_custom=True)),
    },
    flow=[Section("Inputs", Text("Some *text*"), Title("T"), Params("text"), Spoiler("More", Params("n"))),
          Fork("fork", "Choose", a=ForkBranch("A", Params("text")), b=ForkBranch("B"))],
    about_page_path=Path("about.md"), no_standard_bulk_execution=True,
)


@small_task
def shows(text: str, n: int) -> str:
    return f"{text} {n}"


@workflow(metadata)
def flow(text: str = "x", n: int = 3) -> str:
    return shows(text=text, n=n)


LaunchPlan(flow, "Test", {"text": "y", "n": 4})
