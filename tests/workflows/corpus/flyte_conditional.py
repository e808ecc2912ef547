# result: "yes"
from flytekit import conditional, task, workflow


@task
def flag(n: int) -> bool:
    return n > 1


@task
def says(text: str) -> str:
    return text


@workflow
def flow(n: int = 2) -> str:
    found = flag(n=n)
    return conditional("flag").if_(found.is_true()).then(says(text="yes")).else_().then(says(text="no"))
