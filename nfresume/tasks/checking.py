"""Check a Python workflow and the inputs of a call, in a child process with a timeout.

The file is the user's code and may have heavy imports. So it is never loaded into the process that launches.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, is_dataclass
from enum import Enum, EnumMeta
from pathlib import Path
from typing import Any

from nfresume.domain.executions import python_workflow
from nfresume.system import asking
from nfresume.tasks.inputs import as_json

#: Long, because on a shared file system the first import of a scientific package takes many seconds.
TIMEOUT_SECONDS = 300.0


@dataclass(frozen=True)
class Declaration:
    """What a workflow declares: its hours (None: not declared), and its inputs as rows for a form."""

    storage_expiration_hours: object = None
    parameters: list[dict[str, Any]] = field(default_factory=list)


def check(pipeline: str, launch_dir: Path, inputs: Mapping[str, Any] | None = None) -> Declaration:
    """Load `file.py:workflow`, and check `inputs` if given. Relative paths refer to `launch_dir`.

    Raises InvalidMetadata when the file cannot be loaded, UsageError for bad inputs.
    """
    question = {"pipeline": pipeline, "launch_dir": str(launch_dir),
                "inputs": None if inputs is None else as_json(inputs)}
    answer = asking.ask_about(pipeline, __name__, question, TIMEOUT_SECONDS)
    return Declaration(answer["hours"], answer["parameters"])


def _check_in_child(question: dict[str, Any]) -> dict[str, Any]:
    from nfresume.tasks import inputs, loading, remote

    os.chdir(question["launch_dir"])
    split = python_workflow(question["pipeline"])
    assert split is not None
    flow = loading.workflow(loading.load(Path(split[0]).resolve()), split[1])
    if question["inputs"] is not None:
        try:
            asked = inputs.of_json(question["inputs"])
            given = inputs.of_workflow(flow.function, asked, Path.cwd(), flow.hints)
            named = {name: given[name] for name in asked}
            _check_rules(named, flow)
            if problem := next(remote.unreachable(named, flow.hints), None):
                return {"input": problem}
        except inputs.BadInput as e:
            return {"input": str(e)}
    return {"hours": flow.storage_expiration_hours, "parameters": _parameters(flow)}


def _check_rules(given: Mapping[str, Any], flow: Any) -> None:
    """Raise BadInput for an input that breaks a LatchRule of the workflow's metadata.

    A rule looks for its regex anywhere in a text, or in the text of each item of a list. For files and
    folders only rules about the end of the name count: others are about paths of Latch Data.
    """
    from nfresume.tasks import inputs

    declared = getattr(flow.metadata, "parameters", None) or {}
    for name, value in given.items():
        for rule in getattr(declared.get(name), "rules", None) or []:
            for item in value if isinstance(value, list | tuple) else [value]:
                path = getattr(item, "path", None)
                text = path if rule.regex.endswith("$") and not rule.regex.startswith("^") else None
                text = item if isinstance(item, str) else text
                if isinstance(text, str) and not re.search(rule.regex, text):
                    raise inputs.BadInput(f"--{name}: {text!r} does not match {rule.regex}: {rule.message}")


def _parameters(flow: Any) -> list[dict[str, Any]]:
    declared = getattr(flow.metadata, "parameters", None) or {}
    return [_parameter(name, p, flow.hints.get(name, Any), declared.get(name))
            for name, p in inspect.signature(flow.function).parameters.items()]


def _parameter(name: str, parameter: inspect.Parameter, kind: Any, latch: Any) -> dict[str, Any]:
    """A row with the keys of `pipelines.parameters.Parameter`. `latch` is the LatchParameter, or None."""
    plain = {bool: "boolean", int: "integer", float: "number"}.get(kind)
    structured = is_dataclass(kind) or getattr(kind, "__origin__", kind) in (list, dict, tuple, set)
    members: list[Any] = list(kind) if isinstance(kind, EnumMeta) else []
    choices = [str(member.value) for member in members]
    default = parameter.default if parameter.default is not parameter.empty else None
    default = default.value if isinstance(default, Enum) else default
    path = getattr(default, "path", None)
    text = getattr(latch, "description", None) or getattr(latch, "display_name", None) or ""
    return {"name": name, "type": plain or ("array" if structured else "string"), "help": text,
            "section": getattr(latch, "section_title", None) or "", "choices": choices,
            "required": parameter.default is parameter.empty,
            "default": path or (default if isinstance(default, bool | int | float | str) else None)}


def _explain_error(error: BaseException, question: dict[str, Any]) -> str:
    from nfresume.tasks import loading

    return loading.explain(error, question["pipeline"], Path(question["launch_dir"]))


if __name__ == "__main__":
    asking.answer(_check_in_child, _explain_error)
