"""All modules and names of latch, flytekit and their relatives that nfresume provides."""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from pathlib import Path
from types import ModuleType
from typing import Any, Dict, List, Union  # noqa: UP035 - the types of latch.types.json, as Latch spells them

import nfresume_metadata as ours

from nfresume import tasks
from nfresume.tasks import (
    checkpoints,
    cloud,
    context,
    eager,
    imperative,
    json_classes,
    operators,
    options,
    pods,
    sections,
    shell,
    waiting,
)
from nfresume.tasks.failing import USER_EXCEPTIONS, EagerException, FlyteError, FlyteException

_FILES = ("LatchFile", "LatchDir", "LatchOutputFile", "LatchOutputDir")


class Kept:
    """An object that is only kept, such as a schedule or a notification: what it was given is in `given`."""

    def __init__(self, *values: Any, **fields: Any) -> None:
        self.given = values
        self.__dict__.update(fields)


def _kept(*names: str) -> dict[str, Any]:
    return {name: type(name, (Kept,), {}) for name in names}


# -- latch.types ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Widget:
    """A field of a plot notebook, and its value."""

    transform_id: str
    key: str
    value: Any

    def asdict(self) -> dict[str, Any]:
        """The value by the widget's full name."""
        return {f"{self.transform_id}/{self.key}": {"value": self.value}}


@dataclass(frozen=True)
class PlotsArtifactTemplate:
    """A plot notebook, with values for its widgets."""

    template_id: str
    widgets: list[Widget] | None = None

    def asdict(self) -> dict[str, Any]:
        """The notebook's id and the values, as Latch stores them."""
        if self.widgets is None:
            return {"id": self.template_id}
        values = {k: v for widget in self.widgets for k, v in widget.asdict().items()}
        return {"id": self.template_id, "widgetValues": values}


@dataclass(frozen=True)
class PlotsArtifactBindings:
    """Some plot notebooks."""

    plot_templates: list[PlotsArtifactTemplate]

    def asdict(self) -> dict[str, Any]:
        """The notebooks, as Latch stores them."""
        return {"plotTemplates": [template.asdict() for template in self.plot_templates]}


@dataclass(frozen=True)
class PlotsArtifact:
    """What a task returns to open plot notebooks on its results."""

    bindings: PlotsArtifactBindings

    def asdict(self) -> dict[str, Any]:
        """The artifact, as Latch stores it."""
        return {"bindings": self.bindings.asdict()}


class LDataNodeType(StrEnum):
    """What is at a path of Latch Data."""

    account_root = "account_root"
    dir = "dir"
    obj = "obj"
    mount = "mount"
    link = "link"
    mount_gcp = "mount_gcp"
    mount_azure = "mount_azure"


class LatchPathError(RuntimeError):
    """A path of Latch Data does not exist, or cannot be reached."""


def is_valid_url(raw_url: str | Path) -> bool:
    """True for a URL of latch or S3 with an absolute path."""
    scheme, found, rest = str(raw_url).partition("://")
    return bool(found) and scheme in ("latch", "s3") and "/" in rest


# -- latch_cli ------------------------------------------------------------------------------------


def urljoins(*parts: str, dir: bool = False) -> str:  # noqa: A002 - Latch's name
    """URL parts joined by one slash each; with `dir` there is one at the end."""
    first, *rest = [part for part in parts if part]
    joined = "/".join([first.rstrip("/"), *(part.strip("/") for part in rest)])
    return joined.rstrip("/") + "/" if dir else joined


def import_module_by_path(path: Path, *, module_name: str = "latch_metadata") -> ModuleType:
    """Import a file under a name. Raises what the file raises."""
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    return module


def get_flag(name: str, value: Any) -> list[str]:
    """A value as words for `nextflow run`, as Latch writes it."""
    if value is None or value is False:
        return []
    if value is True:
        return [f"--{name}"]
    if isinstance(value, ours.LatchFile | ours.LatchDir):
        return [f"--{name}", (value.remote_path or value.path).removeprefix("file://")]
    return [f"--{name}", str(value.value if isinstance(value, Enum) else value)]


# -- flytekit -------------------------------------------------------------------------------------


@dataclass
class Resources:
    """What a task asks for, in Kubernetes' quantities: `Resources(cpu="2", mem="4Gi")`."""

    cpu: Any = None
    mem: Any = None
    gpu: Any = None
    storage: Any = None
    ephemeral_storage: Any = None


def kwtypes(**types: Any) -> dict[str, Any]:
    """The types by name."""
    return types


class Secret:
    """A request for a secret. `env_var` names the environment variable in which the task finds it."""

    MountType = Enum("MountType", ["ANY", "ENV_VAR", "FILE"])

    def __init__(self, group: str | None = None, key: str | None = None, group_version: str | None = None,
                 mount_requirement: Any = MountType.ANY, env_var: str | None = None) -> None:
        self.group = group
        self.key = key
        self.group_version = group_version
        self.mount_requirement = mount_requirement
        self.env_var = env_var


class ImageSpec(Kept):
    """What an image would consist of. The tools and packages are those of this environment."""

    def is_container(self) -> bool:
        """True: files import what the image has when this says so."""
        return True


_JSON = Union[Dict[str, Any], List[Any], str, int, float, bool, None]  # noqa: UP006, UP007
_FLYTE: dict[str, Any] = {
    "task": tasks.task, "workflow": tasks.workflow, "map_task": tasks.map_task,
    "LaunchPlan": tasks.LaunchPlan, "dynamic": tasks.dynamic,
    "conditional": sections.create_conditional_section, "Resources": Resources,
    "reference_launch_plan": cloud.reference_launch_plan, "reference_task": cloud.reference_launch_plan,
    "reference_workflow": cloud.reference_launch_plan, "current_context": context.Context, "kwtypes": kwtypes,
    "create_node": sections.create_node, "logger": context.LOGGER, "Cache": tasks.Cache,
    "FlyteFile": ours.LatchFile, "FlyteDirectory": ours.LatchDir, "ImageSpec": ImageSpec,
    "eager": eager.eager, "Workflow": imperative.ImperativeWorkflow, "sleep": waiting.sleep,
    "approve": waiting.approve, "wait_for_input": waiting.wait_for_input, "Deck": context.Deck,
    "ExecutionParameters": context.Context, "ShellTask": shell.shell_task, "Echo": shell.echo,
    "OutputLocation": shell.OutputLocation,
    "Secret": Secret, "FlyteError": FlyteError, "VersionParameters": options.VersionParameters,
    **_kept("CronSchedule", "FixedRate", "Email", "Slack", "PagerDuty", "Labels", "Annotations",
            "AuthRole", "HashMethod", "Checkpoint", "PodTemplate", "TaskMetadata",
            "Documentation", "Description", "SourceCode", "CachePolicy"),
    "WorkflowFailurePolicy": Enum("WorkflowFailurePolicy", ["FAIL_IMMEDIATELY",
                                                           "FAIL_AFTER_EXECUTABLE_NODES_COMPLETE"]),
}


#: flytekit's names of files with a format.
_FORMATS = ("CSVFile", "HDF5EncodedFile", "HTMLPage", "JoblibSerializedFile", "JPEGImageFile", "JSONLFile",
            "ONNXFile", "PDFFile", "PNGImageFile", "PythonNotebook", "PythonPickledFile", "SVGImageFile",
            "TFRecordFile")


def _flyte(*names: str) -> dict[str, Any]:
    return {name: _FLYTE[name] for name in names}


def _tasks() -> dict[str, Any]:
    return {name: getattr(tasks, name) for name in tasks.__all__}


def _ours(*names: str) -> dict[str, Any]:
    return {name: getattr(ours, name) for name in names}


def _latch() -> dict[str, Mapping[str, Any]]:
    channels = {f.__name__: f for f in (
        operators.combine, operators.group_tuple, operators.inner_join, operators.latch_filter,
        operators.left_join, operators.outer_join, operators.right_join)}
    conditional = {"create_conditional_section": sections.create_conditional_section}
    reference = {"workflow_reference": cloud.workflow_reference}
    glob, plots = {"file_glob": operators.file_glob}, {c.__name__: c for c in (
        Widget, PlotsArtifactTemplate, PlotsArtifactBindings, PlotsArtifact)}
    metadata = [n for n in ours.__all__ if n not in (*_FILES, "LPath", "FlyteAnnotation")]
    verified = {name: cloud.Reference(f"latch.verified.{name}") for name in (
        "deseq2_wf", "mafft", "gene_ontology_pathway_analysis", "rnaseq", "trim_galore")}
    return {
        "latch": {**_tasks(), **channels, **conditional, **reference},
        "latch.resources": {},
        "latch.resources.tasks": {**_tasks(), **pods.getters(), "Pod": pods.Pod},
        "latch.resources.workflow": {"workflow": tasks.workflow, "nextflow_workflow": tasks.workflow},
        "latch.resources.workflows": {"workflow": tasks.workflow, **reference},
        "latch.resources.map_tasks": {"map_task": tasks.map_task},
        "latch.resources.launch_plan": {"LaunchPlan": tasks.LaunchPlan},
        "latch.resources.conditional": conditional,
        "latch.functions": {},
        "latch.functions.messages": {"message": tasks.message},
        "latch.functions.operators": {**channels, "_combine": operators._combine},
        "latch.types": {**_ours(*_FILES, *metadata), **glob},
        "latch.types.metadata": _ours(*metadata),
        "latch.types.file": _ours("LatchFile", "LatchOutputFile"),
        "latch.types.directory": _ours("LatchDir", "LatchOutputDir"),
        "latch.types.samplesheet_item": _ours("SamplesheetItem"),
        "latch.types.glob": glob,
        "latch.types.plots": plots,
        "latch.types.json": {"JsonValue": _JSON, "JsonObject": Dict[str, Any],  # noqa: UP006
                             "JsonArray": List[Any]},  # noqa: UP006
        "latch.types.utils": {"is_valid_url": is_valid_url},
        "latch.ldata": {},
        "latch.ldata.path": _ours("LPath"),
        "latch.ldata.type": {"LDataNodeType": LDataNodeType, "LatchPathError": LatchPathError},
        "latch.verified": verified,
        "latch.utils": {name: functools.partial(cloud.refuse, f"{name}()") for name in (
            "current_workspace", "get_workspaces", "retrieve_or_login", "account_id_from_token")},
        **cloud.MODULES,
    }


def provided() -> dict[str, Mapping[str, Any]]:
    """The names and values of each module that nfresume provides. Modules without names are packages."""
    named = functools.partial(os.environ.get, "NFRESUME_EXECUTION")
    flags: dict[str, Callable[..., Any]] = {
        "get_flag": get_flag, "flags_from_args": functools.partial(cloud.refuse, "flags_from_args()")}
    return {
        **_latch(),
        "latch_cli": {}, "latch_cli.nextflow": {}, "latch_cli.services": {},
        "latch_cli.services.register": {},
        "latch_cli.utils": {"urljoins": urljoins},
        "latch_cli.nextflow.utils": {"_get_execution_name": named},
        "latch_cli.nextflow.workflow": flags,
        "latch_cli.services.register.utils": {"import_module_by_path": import_module_by_path},
        "flytekit": _FLYTE,
        "flytekit.core": {},
        "flytekit.core.annotation": _ours("FlyteAnnotation"),
        "flytekit.core.task": _flyte("task", "Secret", "reference_task", "eager", "Echo"),
        "flytekit.core.workflow": {
            **_flyte("workflow", "reference_workflow", "WorkflowFailurePolicy"),
            "ImperativeWorkflow": imperative.ImperativeWorkflow},
        "flytekit.core.gate": _flyte("sleep", "approve", "wait_for_input"),
        "flytekit.core.checkpointer": {"Checkpoint": checkpoints.Checkpoint},
        "flytekit.extras": {}, "flytekit.extras.tasks": {},
        "flytekit.extras.tasks.shell": _flyte("ShellTask", "OutputLocation"),
        "flytekit.deck": _flyte("Deck"),
        "flytekit.experimental.eager_function": _flyte("eager"),
        "flytekit.core.dynamic_workflow_task": _flyte("dynamic"),
        "flytekit.core.map_task": _flyte("map_task"),
        "flytekit.core.resources": _flyte("Resources"),
        "flytekit.core.condition": _flyte("conditional"),
        "flytekit.core.node_creation": _flyte("create_node"),
        "flytekit.core.cache": _flyte("Cache", "CachePolicy", "VersionParameters"),
        "flytekit.core.base_task": _flyte("TaskMetadata"),
        "flytekit.core.context_manager": {"current_context": context.Context},
        "flytekit.core.array_node_map_task": _flyte("map_task"),
        "flytekit.core.pod_template": _flyte("PodTemplate"),
        "flytekit.exceptions": {},
        "flytekit.exceptions.base": {"FlyteException": FlyteException},
        "flytekit.exceptions.eager": {"EagerException": EagerException},
        "flytekit.exceptions.user": USER_EXCEPTIONS,
        "flytekit.image_spec": _flyte("ImageSpec"),
        "flytekit.experimental": _flyte("map_task", "eager"),
        "flytekit.core.launch_plan": _flyte("LaunchPlan", "reference_launch_plan"),
        "flytekit.loggers": _flyte("logger"),
        "flytekit.types": {},
        "flytekit.types.error": _flyte("FlyteError"),
        "flytekit.types.error.error": _flyte("FlyteError"),
        "flytekit.types.file": {**_flyte("FlyteFile"), **dict.fromkeys(_FORMATS, ours.LatchFile)},
        "flytekit.types.file.file": _flyte("FlyteFile"),
        "flytekit.types.directory": {**_flyte("FlyteDirectory"), "TensorboardLogs": ours.LatchDir,
                                     "TFRecordsDirectory": ours.LatchDir},
        "flytekit.types.directory.types": _flyte("FlyteDirectory"),
        "flytekitplugins": {}, "flytekitplugins.pod": {"Pod": pods.Pod},
    }


#: Modules that are provided only where they are not installed. Their names are made when asked for.
FALLBACK: Mapping[str, Callable[[str], Any]] = {
    "kubernetes": lambda name: importlib.import_module(f"kubernetes.{name}") if name == "client" else None,
    "kubernetes.client": lambda name: importlib.import_module("kubernetes.client.models")
    if name == "models" else pods.model(name),
    "kubernetes.client.models": pods.model,
    **json_classes.MODULES,
}
