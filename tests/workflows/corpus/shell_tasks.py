# result: ["in: text", "a.txt", "3"]
from typing import List

from flytekit import conditional, kwtypes, task, workflow
from flytekit.core.task import Echo
from flytekit.extras.tasks.shell import OutputLocation, ShellTask
from flytekit.types.directory import FlyteDirectory
from flytekit.types.file import FlyteFile

first = ShellTask(
    name="task_1",
    debug=True,
    script="""
    set -ex
    printf 'in: {inputs.text}' > {inputs.y}
    mkdir -p {outputs.folder}
    cp {inputs.y} {outputs.folder}/a.txt
    """,
    inputs=kwtypes(text=str, y=str),
    output_locs=[OutputLocation(var="file", var_type=FlyteFile, location="{inputs.y}"),
                 OutputLocation(var="folder", var_type=FlyteDirectory, location="made")])
second = ShellTask(
    name="task-2", script="cat {inputs.file} {inputs.file} | awk '{{n += NF}} END {{print n - 3}}' > {outputs.count}",
    inputs=kwtypes(file=FlyteFile, folder=FlyteDirectory),
    output_locs=[OutputLocation(var="count", var_type=FlyteFile, location="count.txt")])
nothing = Echo(name="echo", inputs={"n": int})
both = Echo(name="both", inputs={"a": int, "b": str})
third = ShellTask(name="quiet", script="test -n '{inputs.n}'", inputs=kwtypes(n=int))


@task
def never(n: int) -> int:
    raise ValueError(n)


@task
def shows(n: int, file: FlyteFile, folder: FlyteDirectory, count: FlyteFile) -> List[str]:
    import os

    return [open(file).read(), *os.listdir(folder), str(int(open(count).read()) + n)]


@workflow
def flow() -> List[str]:
    made = first(text="text", y="/tmp/y.txt")
    third(n=1)
    kept, named = both(a=3, b="text")
    n = conditional("n").if_(kept > 3).then(never(n=kept)).else_().then(nothing(n=kept))
    return shows(n=n, file=made.file, folder=made.folder, count=second(file=made.file, folder=made.folder))
