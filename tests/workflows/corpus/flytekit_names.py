# result: ["3", 6]
import os
from functools import partial
from typing import List

import flytekit
from flytekit import Resources, task, workflow

big = partial(task, requests=Resources(cpu="1", mem="100Mi"), limits=Resources(cpu="2", mem="1Gi"))


@big
def text(n: int) -> str:
    context = flytekit.current_context()
    assert context.execution_id.name == str(context.execution_id) != ""
    assert context.working_directory == os.getcwd()
    assert open(context.secrets.get_secrets_file("PATH")).read() == context.secrets.get("any", key="PATH")
    return str(n)


@flytekit.task(requests=Resources(mem="10Mi"))
def double(n: int) -> int:
    return 2 * n


@workflow
def flow(n: int = 3) -> List[object]:
    return [text(n=n), double(n=n)]
