# result: "7 x"
# inputs: --n 7
from typing_extensions import Annotated

from flytekit.core.annotation import FlyteAnnotation
from latch import small_task, workflow

Number = Annotated[int, FlyteAnnotation({"rules": [{"regex": "[0-9]+"}]})]


@small_task
def shows(n: Number, text: Annotated[str, "a text"]) -> str:
    return f"{n} {text}"


@workflow
def flow(n: Number, text: Annotated[str, FlyteAnnotation({"display_name": "Text"})] = "x") -> str:
    return shows(n=n, text=text)
