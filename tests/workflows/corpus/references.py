# result: 3
from flytekit.core.launch_plan import reference_launch_plan
from latch import small_task, workflow, workflow_reference
from latch.resources.reference_workflow import workflow_reference as also
from latch.verified import deseq2_wf, mafft, rnaseq, trim_galore


@workflow_reference(name="wf.__init__.other", version="0.1")
def other(n: int) -> int: ...


@reference_launch_plan(project="1", domain="development", name="x", version="1")
def planned(n: int) -> int: ...


@small_task
def same(n: int) -> int:
    return n


@workflow
def flow(n: int = 3) -> int:
    return same(n=n)
