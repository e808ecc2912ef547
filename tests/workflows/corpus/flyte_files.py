# result: "a"
# inputs: --file a.txt
from flytekit import task, workflow
from flytekit.types.directory import FlyteDirectory
from flytekit.types.file import FlyteFile


@task
def reads(file: FlyteFile) -> str:
    with open(file) as opened:
        return opened.read()


@workflow
def flow(file: FlyteFile) -> str:
    return reads(file=file)
