# result: {"total": 9, "text": "xyz", "both": ["abc", "xyz"]}
# inputs: --text xyz
from typing import List, Tuple

from flytekit import Workflow, task, workflow


@task
def shout(text: str) -> str:
    return text


@task
def pair(n: int) -> Tuple[int, int]:
    return n, 2 * n


@task
def add(values: List[int]) -> int:
    return sum(values)


@workflow
def inner(n: int) -> Tuple[int, int]:
    return pair(n=n)


flow = Workflow(name="my.imperative.flow")
flow.add_workflow_input("text", str)
first = flow.add_entity(shout, text=flow.inputs["text"])
other = flow.add_task(shout, text="abc")
numbers = flow.add_subwf(inner, n=3)
total = flow.add_entity(add, values=[numbers.outputs["o0"], numbers.outputs["o1"]])
first >> other
flow.add_workflow_output("total", total.outputs["o0"], python_type=int)
flow.add_workflow_output("text", first.outputs["o0"])
flow.add_workflow_output("both", [other.outputs["o0"], first.outputs["o0"]], python_type=List[str])
