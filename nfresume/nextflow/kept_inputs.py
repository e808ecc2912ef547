"""What an attempt was given, as it was kept: the list of its files, and its parameters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nfresume.domain.errors import NotFound
from nfresume.nextflow import options
from nfresume.system import regular

FOLDER = "inputs"
LIST = "inputs.json"
#: Parameters whose aliases stand for a longer text are not read.
_LONGEST = 1 << 26


@dataclass(frozen=True)
class Input:
    """One file. `option`: what named it, an option or a parameter. `given`: its path as it was typed.

    `kept`: its name in FOLDER; None for a file that a parameter names, which is not copied. `digest` is the
    SHA-256 in hex. `transient`: it cannot be read a second time (a pipe such as `<(...)`).
    """

    option: str
    given: str
    kept: str | None
    digest: str | None
    size: int
    transient: bool = False


def read(attempt_dir: Path) -> list[Input]:
    """The inputs of an attempt; none for an attempt that was given none, or by an earlier version.

    Raises NotFound for a list that was damaged, by a task say.
    """
    try:
        return [Input(**each) for each in regular.document(attempt_dir / FOLDER / LIST)]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError) as e:
        raise NotFound(f"the list of what this attempt was given is damaged: {e}", "launch it anew") from None


def params(content: bytes) -> dict[str, Any]:
    """The parameters of a params file, JSON or YAML; empty when it cannot be read: Nextflow says why."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        import yaml  # takes 20 ms, and few launches need it

        try:
            found = yaml.safe_load(content)
            if _length(found, {}) > _LONGEST:
                return {}
        except (yaml.YAMLError, RecursionError):
            return {}
    return found if isinstance(found, dict) else {}


def _length(value: object, known: dict[int, int]) -> int:
    """About how long a value is as text, with what its aliases stand for. Raises RecursionError."""
    if id(value) not in known:
        inner = (*value, *value.values()) if isinstance(value, dict) else value if isinstance(
            value, list | tuple | set) else ()
        own = len(value) if isinstance(value, str | bytes) else 1
        known[id(value)] = own + sum(_length(each, known) for each in inner)
    return known[id(value)]


def parameters(attempt_dir: Path, pipeline: str, words: tuple[str, ...]) -> dict[str, str]:
    """The parameters of an attempt: those of its params file, and those on its command line."""
    found: dict[str, str] = {}
    for given in read(attempt_dir):
        if given.kept is not None and given.option.endswith("params-file"):
            try:
                content = regular.content(attempt_dir / FOLDER / given.kept)
            except OSError:
                continue
            found |= {name: str(value) for name, value in params(content).items()}
    for option in options.stored(pipeline, words).after:
        if option.name.startswith("--"):
            found[option.name[2:]] = "true" if option.value is None else option.value
    return found


def requested(attempt_dir: Path, request: Mapping[str, Any]) -> dict[str, str]:
    """The parameters of an attempt, by the request that is stored with it."""
    return parameters(attempt_dir, str(request.get("pipeline", "")), tuple(request.get("options", ())))
