"""All names of Latch's and Flyte's packages that public workflow files import."""

from __future__ import annotations

from flytekit import task as flyte_task
from flytekitplugins.pod import Pod
from kubernetes.client.models import (
    V1Container,
    V1PodSpec,
    V1ResourceRequirements,
    V1SecurityContext,
    V1Toleration,
)
from latch import (
    small_task,
    workflow,
    workflow_reference,
)
from latch.account import Account
from latch.executions import (
    add_execution_results,
    rename_current_execution,
)
from latch.functions.secrets import get_secret
from latch.registry.table import Table
from latch.resources.launch_plan import LaunchPlan
from latch.resources.tasks import (
    _get_small_gpu_pod,
)
from latch.types.plots import PlotsArtifact, PlotsArtifactBindings, PlotsArtifactTemplate, Widget

TABLE = Table("1234")
REFERENCE = workflow_reference(name="wf.other", version="1")
PLOTS = PlotsArtifact(bindings=PlotsArtifactBindings(plot_templates=[
    PlotsArtifactTemplate(template_id="7", widgets=[Widget(transform_id="1", key="x", value=2)])]))
pod = _get_small_gpu_pod()
pod.pod_spec.containers[0].security_context = V1SecurityContext(privileged=True)
own_pod = Pod(pod_spec=V1PodSpec(
    tolerations=[V1Toleration(effect="NoSchedule", key="ng", value="cpu-32-spot")],
    containers=[V1Container(name="primary", resources=V1ResourceRequirements(
        requests={"cpu": "500m", "memory": "64Mi"}, limits={"cpu": "1", "memory": "1Gi"}))]),
    primary_container_name="primary")
big_task = flyte_task(task_config=own_pod)


@REFERENCE
def other(n: int) -> int: ...


@flyte_task(task_config=own_pod)
def inside(n: int) -> int:
    return n + 1


@small_task(dockerfile="Dockerfile", cache=True, cache_ignore_input_vars=("note",))
def ignoring(n: int, note: str) -> int:
    print("ran ignoring", n, note)
    return 2 * n


@small_task
def services(n: int) -> list[str]:
    found = []
    rename_current_execution(f"run-{n}")
    add_execution_results(["latch:///x"])
    for call in (TABLE.get_columns, lambda: get_secret("absent"), lambda: Account.current().load(),
                 lambda: list(TABLE.list_records())):
        try:
            call()
            found.append("no error")
        except Exception as e:
            found.append(f"{type(e).__name__}: {e}")
    found.append(get_secret("TOKEN"))
    return found


@workflow
def calls(n: int = 3) -> list[int]:
    return [inside(n=n), ignoring(n=n, note="a")]


@workflow
def asks(n: int = 3) -> list[str]:
    return services(n=n)


LaunchPlan(calls, "Test Data", {"n": 5})
