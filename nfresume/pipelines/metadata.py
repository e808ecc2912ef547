"""Load a pipeline's `latch_metadata`, in a child process with a timeout.

The file is the pipeline's own code, which may do anything: see `system.asking`.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum, EnumMeta
from pathlib import Path
from typing import Any

from nfresume.domain.errors import InvalidMetadata, NotFound
from nfresume.system import asking

TIMEOUT_SECONDS = 60.0
_PACKAGE = "latch_metadata"


@dataclass(frozen=True)
class PipelineMetadata:
    """What nfresume reads from a `latch_metadata`. A value is None when it is not declared."""

    file: Path
    display_name: str | None
    name: str | None
    storage_expiration_hours: float | None
    log_dir: str | None = None
    parameters: list[dict[str, Any]] = field(default_factory=list)  # with the keys of parameters.Parameter


def find(pipeline: Path, explicit: Path | None) -> Path | None:
    """The file to load: the one that `--metadata` (`explicit`) names, else the one beside the pipeline.

    None: the pipeline has none. Raises NotFound when `--metadata` names no file that can be loaded.
    """
    if explicit is not None:
        for candidate in (explicit / _PACKAGE / "__init__.py", explicit / "__init__.py", explicit):
            if candidate.is_file():
                return candidate
        raise NotFound(f"--metadata {explicit}: no latch_metadata/__init__.py there",
                       "name the folder that holds it, or the file itself")
    folder = pipeline if pipeline.is_dir() else pipeline.parent
    candidate = folder / _PACKAGE / "__init__.py"
    return candidate if candidate.is_file() else None


def load(file: Path, timeout: float = TIMEOUT_SECONDS) -> PipelineMetadata:
    """Load `file`, in at most `timeout` seconds. Raises InvalidMetadata: one line with file and field."""
    try:
        found = asking.ask(__name__, {"file": str(file.resolve())}, timeout)
    except TimeoutError:
        raise InvalidMetadata(f"{file}: loading took longer than {timeout:.0f} s",
                              "move what waits or computes during the import into a function") from None
    answer = found.document
    if answer is None:
        raise InvalidMetadata(f"{file}: the process that loaded it ended without an answer "
                              f"(exit status {found.exit_status})", "try `python -c 'import latch_metadata'`")
    if "error" in answer:
        raise InvalidMetadata(f"{file}: {answer['error']}", "fix the file, or choose another: --metadata")
    return PipelineMetadata(file, answer["display_name"], answer["name"], answer["storage_expiration_hours"],
                            answer["log_dir"], answer["parameters"])


def _load_in_child(file: Path) -> dict[str, Any]:
    from nfresume_metadata import forget, last_nextflow_metadata

    from nfresume.tasks import standins

    folder = file.parent
    os.chdir(folder.parent)
    sys.path.insert(0, str(folder.parent))
    forget()
    with standins.installed():
        spec = importlib.util.spec_from_file_location(
            _PACKAGE, file, submodule_search_locations=[str(folder)]
        )
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[_PACKAGE] = module  # before it runs: relative imports need it
        spec.loader.exec_module(module)
    found = last_nextflow_metadata()
    if found is None:
        return {"display_name": None, "name": None, "storage_expiration_hours": None, "log_dir": None,
                "parameters": []}
    hours = getattr(found.runtime_resources, "storage_expiration_hours", None)
    parameters = [row for name, entry in (getattr(found, "parameters", None) or {}).items()
                  for row in _parameter(str(name), entry)]
    log_dir = getattr(found, "log_dir", None)
    place = getattr(log_dir, "remote_path", None) or getattr(log_dir, "path", None)
    return {"display_name": found.display_name, "name": found.name, "storage_expiration_hours": hours,
            "log_dir": None if place is None else str(place), "parameters": parameters}


def _parameter(name: str, entry: Any) -> list[dict[str, Any]]:
    """The row of one declared parameter. A dataclass has one row per field: Latch passes --name.field."""
    kind = getattr(entry, "type", None)
    if isinstance(kind, type) and is_dataclass(kind):
        return [_described(f"{name}.{f.name}", f.type, None, "", "") for f in fields(kind)]
    if getattr(entry, "hidden", False):
        return []
    text = getattr(entry, "description", None) or getattr(entry, "display_name", None) or ""
    return [_described(name, kind, getattr(entry, "default", None), text,
                       getattr(entry, "section_title", None) or "")]


def _described(name: str, kind: Any, default: Any, text: str, section: str) -> dict[str, Any]:
    members: list[Any] = list(kind) if isinstance(kind, EnumMeta) else []
    choices = [str(member.value) for member in members]
    known = {bool: "boolean", int: "integer", float: "number"}.get(kind, "string")
    plain = default.value if isinstance(default, Enum) else default
    return {"name": name, "type": known, "help": text, "section": section, "choices": choices,
            "required": False, "default": plain if isinstance(plain, bool | int | float | str) else None}


def _main() -> None:
    """Run in the child process."""
    asking.answer(lambda question: _load_in_child(Path(question["file"])),
                  lambda error, question: asking.explain(error, Path(question["file"])))


if __name__ == "__main__":
    _main()
