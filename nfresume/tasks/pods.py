"""Pods of Kubernetes, with which some Latch files ask for the resources of a task.

Nothing here runs a pod. What a file builds is kept as it is. CPUs, memory, disk and GPUs are read from it.
Source of the names: `kubernetes.client.models` and `flytekitplugins.pod`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nfresume.tasks.sizes import SIZES, Resources

_UNITS = {"": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15,
          "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50}
_QUANTITY = re.compile(r"([0-9.]+(?:[eE][+-]?[0-9]+)?)([A-Za-z]*)")
_GIB = float(1 << 30)


class Model:
    """Any object of Kubernetes: it keeps what it is given. A field that was not given is None."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return None

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in vars(self).items())})"


_models: dict[str, type[Model]] = {}


def model(name: str) -> type[Model]:
    """The class of Kubernetes with this name, such as V1Container. Raises AttributeError for other names."""
    if not re.fullmatch(r"V[0-9]\w+", name):
        raise AttributeError(f"kubernetes.client has no {name!r} here")
    return _models.setdefault(name, type(name, (Model,), {"__module__": "kubernetes.client.models"}))


@dataclass
class Pod:
    """The configuration of a task: the pod in which it would run on Flyte."""

    pod_spec: Any
    primary_container_name: str = "primary"
    labels: Mapping[str, str] | None = field(default_factory=dict)
    annotations: Mapping[str, str] | None = field(default_factory=dict)


def of_size(resources: Resources) -> Pod:
    """A pod that asks for these resources, in one container, as those of Latch's decorators."""
    requests = {"cpu": f"{resources.cpu:g}", "memory": f"{resources.memory:g}Gi",
                "ephemeral-storage": f"{resources.storage:g}Gi"}
    if resources.gpu:
        requests["nvidia.com/gpu"] = str(resources.gpu)
    asked = model("V1ResourceRequirements")(requests=requests, limits=dict(requests))
    container = model("V1Container")(name="primary", resources=asked)
    return Pod(model("V1PodSpec")(containers=[container], tolerations=[], volumes=[]))


def of_options(options: Mapping[str, Any]) -> Resources | None:
    """What a task's options ask for: its pod or pod template, else its requests and limits; None: nothing.

    Requests and limits have `cpu`, `mem`, `gpu` and `storage`, as flytekit's Resources have. What is not
    requested is what the limit says. Of a pair such as `("1", "2")` the first is the request.
    """
    for name in ("task_config", "pod_template"):
        if (found := resources_of(options.get(name))) is not None:
            return found
    asked = [each for name in ("requests", "limits") if (each := options.get(name)) is not None]
    if not asked:
        return None

    def amount(*names: str) -> Any:
        values = (getattr(each, name, None) for each in asked for name in names)
        value = next((value for value in values if value is not None), None)
        return value[0] if isinstance(value, list | tuple) else value

    return Resources(quantity(amount("cpu") or 1), quantity(amount("mem") or 0) / _GIB,
                     quantity(amount("ephemeral_storage", "storage") or 0) / _GIB, int(amount("gpu") or 0))


def resources_of(config: Any) -> Resources | None:
    """What the primary container of a pod asks for; None for another configuration, or one that asks nothing.

    Requests count; where there are none, limits do.
    """
    containers = getattr(getattr(config, "pod_spec", None), "containers", None) or []
    name = getattr(config, "primary_container_name", None)
    chosen = next((c for c in containers if getattr(c, "name", None) == name), next(iter(containers), None))
    asked = getattr(chosen, "resources", None)
    found = getattr(asked, "requests", None) or getattr(asked, "limits", None) or {}
    if not found:
        return None
    gpu = next((quantity(v) for k, v in found.items() if k.endswith("/gpu")), 0)
    return Resources(quantity(found.get("cpu", 1)), quantity(found.get("memory", 0)) / _GIB,
                     quantity(found.get("ephemeral-storage", 0)) / _GIB, int(gpu))


def quantity(value: object) -> float:
    """A number of Kubernetes, such as "500m" or "4Gi", as a float. Raises ValueError for another text."""
    match = _QUANTITY.fullmatch(str(value).strip())
    if match is None or match[2] not in _UNITS:
        raise ValueError(f"{value!r} is not a quantity such as 500m or 4Gi")
    return float(match[1]) * _UNITS[match[2]]


def getters() -> dict[str, Any]:
    """Latch's functions that give the pod of a size, such as `_get_small_pod`, by name."""

    def getter(resources: Resources) -> Any:
        return lambda: of_size(resources)

    def l40s(_instance_type: str, cpu: float, memory_gib: float, gpus: int) -> Pod:
        return of_size(Resources(cpu, memory_gib, gpu=gpus))

    return {"_get_l40s_pod": l40s} | {
        f"{'' if name.startswith('v100') else '_'}get_{name}_pod": getter(resources)
        for name, resources in SIZES.items()}
