"""What a Python workflow declares, and whether it can be called so: asked of a bounded process.

The file is the user's code, and may bring heavy imports: nothing of it is loaded where a launch is checked.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, is_dataclass
from enum import Enum, EnumMeta
from pathlib import Path
from typing import Any

from nfresume.domain.executions import python_workflow
from nfresume.system import asking

#: Imports of scientific packages take many seconds on a cold shared file system.
TIMEOUT_SECONDS = 300.0


@dataclass(frozen=True)
class Declared:
    """Hours that the workflow's declaration asks for (None: not), its inputs as parameters for a form."""

    storage_expiration_hours: object = None
    parameters: list[dict[str, Any]] = field(default_factory=list)


def check(pipeline: str, launch_dir: Path, inputs: Mapping[str, Any] | None = None) -> Declared:
    """Load `file.py:workflow`; with `inputs`, check them too. Raises InvalidMetadata or UsageError."""
    question = {"pipeline": pipeline, "launch_dir": str(launch_dir), "inputs": inputs}
    said = asking.ask_about(pipeline, __name__, question, TIMEOUT_SECONDS)
    return Declared(said["hours"], said["parameters"])


def _look(order: dict[str, Any]) -> dict[str, Any]:
    from nfresume.tasks import inputs, loading

    os.chdir(order["launch_dir"])
    split = python_workflow(order["pipeline"])
    assert split is not None
    flow = loading.workflow(loading.load(Path(split[0]).resolve()), split[1])
    if order["inputs"] is not None:
        try:
            inputs.of_workflow(flow.function, order["inputs"], Path.cwd(), flow.hints)
        except inputs.BadInput as e:
            return {"input": str(e)}
    return {"hours": flow.storage_expiration_hours, "parameters": _parameters(flow)}


def _parameters(flow: Any) -> list[dict[str, Any]]:
    declared = getattr(flow.metadata, "parameters", None) or {}
    return [_parameter(name, p, flow.hints.get(name, Any), declared.get(name))
            for name, p in inspect.signature(flow.function).parameters.items()]


def _parameter(name: str, parameter: inspect.Parameter, kind: Any, told: Any) -> dict[str, Any]:
    """As `parameters.Parameter` has it."""
    plain = {bool: "boolean", int: "integer", float: "number"}.get(kind)
    structured = is_dataclass(kind) or getattr(kind, "__origin__", kind) in (list, dict, tuple, set)
    members: list[Any] = list(kind) if isinstance(kind, EnumMeta) else []
    choices = [str(member.value) for member in members]
    default = parameter.default if parameter.default is not parameter.empty else None
    default = default.value if isinstance(default, Enum) else default
    path = getattr(default, "path", None)
    text = getattr(told, "description", None) or getattr(told, "display_name", None) or ""
    return {"name": name, "type": plain or ("array" if structured else "string"), "help": text,
            "section": getattr(told, "section_title", None) or "", "choices": choices,
            "required": parameter.default is parameter.empty,
            "default": path or (default if isinstance(default, bool | int | float | str) else None)}


def _explain(error: BaseException, order: dict[str, Any]) -> str:
    from nfresume.tasks import loading

    return loading.explain(error, order["pipeline"], Path(order["launch_dir"]))


if __name__ == "__main__":
    asking.answer(_look, _explain)
