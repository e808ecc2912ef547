# result: "executions-flow"
from latch.executions import (
    add_execution_results,
    get_execution_metadata,
    get_task_identifier,
    rename_current_execution,
    report_nextflow_used_storage,
)
from latch import small_task, workflow


@small_task
def shows() -> str:
    rename_current_execution("a better name")
    add_execution_results(["latch:///out"])
    report_nextflow_used_storage(5)
    get_task_identifier()
    return get_execution_metadata().execution_name.rpartition("-")[0]


@workflow
def flow() -> str:
    return shows()
