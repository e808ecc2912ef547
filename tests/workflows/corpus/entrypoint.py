# result: ["--outdir", "latch:///a", "--flag"]
import sys
from pathlib import Path
from typing import List

from latch.ldata.path import LPath
from latch.resources.tasks import custom_task, nextflow_runtime_task
from latch.resources.workflow import workflow
from latch.types import LatchOutputDir
from latch_cli.nextflow.utils import _get_execution_name
from latch_cli.nextflow.workflow import get_flag
from latch_cli.services.register.utils import import_module_by_path
from latch_cli.utils import urljoins

sys.stdout.reconfigure(line_buffering=True)


@custom_task(cpu=0.25, memory=0.5, storage_gib=1)
def initialize() -> str:
    assert _get_execution_name() is not None
    return urljoins("latch:///logs", "a", "b")


@nextflow_runtime_task(cpu=1, memory=1, storage_gib=100)
def runtime(pvc_name: str, out: LatchOutputDir, flag: bool) -> List[str]:
    assert pvc_name == "latch:///logs/a/b"
    return [*get_flag("outdir", out), *get_flag("flag", flag), *get_flag("empty", None)]


@workflow
def flow(out: LatchOutputDir = LatchOutputDir("latch:///a"), flag: bool = True) -> List[str]:
    return runtime(pvc_name=initialize(), out=out, flag=flag)
