"""flytekit's ShellTask, a script with `{inputs.name}` and `{outputs.name}` in it, and Echo."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from nfresume_metadata import LatchDir, LatchFile

from nfresume.tasks.declaring import Task, task


@dataclass(frozen=True)
class OutputLocation:
    """An output of a script: its name, type, and where the script writes it, with `{inputs.name}` in it."""

    var: str
    var_type: type
    location: str


def shell_task(
    name: str, debug: bool = False, script: str | None = None, script_file: str | None = None,
    task_config: Any = None, shell: str = "/bin/sh", inputs: Mapping[str, type] | None = None,
    output_locs: Sequence[OutputLocation] | None = None, **more: Any,
) -> Task:
    """Declare a task that runs a script. `more`: options of the task. Raises ValueError for a bad script."""
    if (script is None) == (script_file is None):
        raise ValueError(f"{name}: a ShellTask needs script or script_file")
    text = script if script is not None else Path(str(script_file)).read_text()
    outputs = {each.var: each for each in output_locs or ()}
    written = repr(sorted((each.var, each.location) for each in outputs.values()))
    module, function_name = _caller(), re.sub(r"\W", "_", name)
    several = _class_of(module, f"{function_name}_outputs", outputs) if len(outputs) > 1 else None

    def run(**given: Any) -> Any:
        places = {var: _filled(name, each.location, given, {}) for var, each in outputs.items()}
        filled = _filled(name, text, given, places)
        if debug:
            print(filled, flush=True)
        assert written  # what a function encloses is in its key
        subprocess.run([shell, "-c", filled], check=True)
        found = [_output(each, places[var]) for var, each in outputs.items()]
        return several(*found) if several is not None else found[0] if found else None

    kinds = dict(inputs or {})
    run.__name__ = run.__qualname__ = function_name
    run.__module__ = module
    returned = several or next((each.var_type for each in outputs.values()), None)
    return _declared(run, kinds, returned, {"task_config": task_config, **more})


def echo(name: str, inputs: Mapping[str, type] | None = None, **more: Any) -> Task:
    """Declare a task that returns its inputs: flytekit's Echo, for a branch that does nothing."""
    kinds = dict(inputs or {})

    def run(**given: Any) -> Any:
        found = tuple(given[each] for each in kinds)
        return found[0] if len(found) == 1 else found or None

    run.__name__ = run.__qualname__ = re.sub(r"\W", "_", name)
    run.__module__ = _caller()
    returned = next(iter(kinds.values())) if len(kinds) == 1 else tuple(kinds.values()) or None
    return _declared(run, kinds, returned, more)


def _declared(run: Any, kinds: Mapping[str, type], returned: Any, options: Mapping[str, Any]) -> Task:
    run.__annotations__ = {**kinds, "return": returned}
    run.__signature__ = inspect.Signature(
        [inspect.Parameter(each, inspect.Parameter.KEYWORD_ONLY) for each in kinds])
    made: Task = task(run, **options)
    return made


def _class_of(module: str, name: str, outputs: Mapping[str, OutputLocation]) -> Any:
    """A NamedTuple of the outputs. It is in the module of the file, where a stored value finds it."""
    made = NamedTuple(name, [(var, each.var_type) for var, each in outputs.items()])  # type: ignore[misc]
    made.__module__ = module
    setattr(sys.modules[module], name, made)
    return made


def _caller() -> str:
    """The module of the file that declares the task."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith("nfresume.tasks."):
        frame = frame.f_back
    return str(frame.f_globals.get("__name__")) if frame is not None else __name__


def _filled(name: str, text: str, given: Mapping[str, Any], places: Mapping[str, str]) -> str:
    """The text, filled in as `str.format` does. Raises ValueError."""
    inputs = {key: os.fspath(found) if isinstance(found, os.PathLike) else found
              for key, found in given.items()}
    try:
        return text.format(inputs=SimpleNamespace(**inputs), outputs=SimpleNamespace(**places))
    except (LookupError, AttributeError, ValueError) as e:
        raise ValueError(f"{name}: its script cannot be filled in: {type(e).__name__}: {e}. Braces that are "
                         "meant for the shell are written twice") from None


def _output(declared: OutputLocation, place: str) -> Any:
    kind = declared.var_type
    return kind(place) if isinstance(kind, type) and issubclass(kind, LatchFile | LatchDir | Path) else place
