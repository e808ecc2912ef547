# result: 4
from flytekit import task
from flytekitplugins.pod import Pod
from kubernetes.client.models import V1Container, V1PodSpec, V1ResourceRequirements, V1Toleration
from latch.resources.tasks import _get_large_pod, _get_small_pod
from latch.resources.workflow import workflow

small = _get_small_pod()
small.pod_spec.containers[0].resources.requests["cpu"] = "1"
small.pod_spec.tolerations.append(V1Toleration(key="ng", value="x", effect="NoSchedule"))
large = _get_large_pod()
own = Pod(
    pod_spec=V1PodSpec(
        containers=[V1Container(name="primary", resources=V1ResourceRequirements(
            requests={"cpu": "1500m", "memory": "1Gi", "nvidia.com/gpu": "0"}))],
        runtime_class_name="sysbox-runc"),
    annotations={"io.kubernetes.cri-o.userns-mode": "private:uidmapping=0:1048576:65536"},
    primary_container_name="primary")


@task(task_config=small)
def one(n: int) -> int:
    return n + 1


@task(task_config=own)
def two(n: int) -> int:
    return n + 1


@workflow
def flow(n: int = 2) -> int:
    return two(n=one(n=n))
