# result: ["3 tries", "other"]
from typing import List

from flytekit import current_context, task, workflow


@task(retries=3)
def counts(goal: int) -> str:
    checkpoint = current_context().checkpoint
    found = int(checkpoint.read() or b"0") + 1 if checkpoint.prev_exists() else 1
    checkpoint.write(str(found).encode())
    if found < goal:
        raise ValueError(f"try {found}")
    return f"{found} tries"


@task
def another(name: str) -> str:
    assert current_context().checkpoint.read() is None
    with open("a.txt", "w") as file:
        file.write(name)
    current_context().checkpoint.save("a.txt")
    return current_context().checkpoint.restore("b.txt").read_text()


@workflow
def flow(goal: int = 3) -> List[str]:
    return [counts(goal=goal), another(name="other")]
