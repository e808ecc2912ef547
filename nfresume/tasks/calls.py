"""What the head of a Python workflow gets: its order, and the call that the words of the launch describe."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nfresume.domain.errors import UsageError
from nfresume.nextflow.options import RunOptions
from nfresume.tasks.inputs import Word

_FILES = ("-params-file",)
_OUTPUT = ("-output-dir", "-o")
_JOBS = "-jobs"
#: The folder for results in the launch dir, if there is no -output-dir.
OUTPUT = "results"


@dataclass(frozen=True)
class Order:
    """What a supervisor tells the head. `work`, `cache` and `attempt` are folders of the execution."""

    pipeline: str
    words: list[str]
    run_name: str
    session_id: str
    resume: bool
    account: str
    execution: str
    account_folder: str
    work: str
    cache: str
    attempt: str
    executor: str = "local"
    executor_options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Call:
    """The inputs as given, the folder for results, and how many CPUs the tasks may use (None: all)."""

    inputs: dict[str, Any]
    output: Path
    jobs: int | None


def of_options(options: RunOptions, launch_dir: Path, known: Mapping[str, bytes] | None = None) -> Call:
    """The call that the options of a launch describe. Relative paths refer to `launch_dir`.

    `known`: the content of params files that were read before, by the names that the options give. Raises
    UsageError for an option of Nextflow only, a bad value, or a params file that cannot be read.
    """
    inputs: dict[str, Any] = {}
    output, jobs = OUTPUT, None
    for option in (*options.before, *options.after):
        name, value = option.name, option.value
        if name in _FILES or (name == "--params-file" and value is not None):
            inputs.update(_params(launch_dir / (value or ""), value or "", known or {}))
        elif name in _OUTPUT:
            output = value or OUTPUT
        elif name == _JOBS:
            jobs = _number(value)
        elif not name.startswith("--"):
            raise UsageError(f"{name} is an option of Nextflow, not of a Python workflow",
                             "inputs are --NAME VALUE; -params-file, -output-dir and --jobs are understood")
    if options.extra:
        raise UsageError(f"{options.extra[0]!r} is not an input", "inputs are --NAME VALUE")
    given = {o.name[2:]: Word("true" if o.value is None else o.value) for o in options.after
             if o.name.startswith("--") and o.name != "--params-file"}
    return Call({**inputs, **given}, launch_dir / output, jobs)


def _number(value: str | None) -> int:
    if value is None or not value.isdecimal() or int(value) < 1:
        raise UsageError(f"--jobs {value!r} is not a number of CPUs", "for example --jobs 4")
    return int(value)


def _params(path: Path, name: str, known: Mapping[str, bytes]) -> dict[str, Any]:
    try:
        content = known[name] if name in known else path.read_bytes()
    except OSError as e:
        raise UsageError(f"the params file {name!r} cannot be read: {e.strerror}",
                         "--params-file takes a JSON or YAML file") from None
    try:
        text = content.decode()
        found = json.loads(text) if path.suffix == ".json" else _yaml(text)
    except ValueError as e:
        raise UsageError(f"{name} cannot be read: {' '.join(str(e).split())}", "fix the file") from None
    if not isinstance(found, dict):
        raise UsageError(f"{name} does not map names to inputs", "it must be like {\"reads\": \"a.fq\"}")
    return {str(key): value for key, value in found.items()}


def _yaml(text: str) -> Any:
    import yaml  # takes 20 ms, and few launches need it

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as e:
        raise ValueError(str(e)) from None
