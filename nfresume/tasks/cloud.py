"""Names of Latch's modules that belong to its service: executions, secrets, the registry, accounts.

A file that imports them loads. What only Latch's service has says so in one line when it is called. With
`latch` installed, the registry, accounts and secrets are those of the package.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn


class NeedsLatch(RuntimeError):
    """What was called is part of Latch's service, which nfresume does not use."""


def refuse(what: str, hint: str = "install latch and log in, or leave the call out") -> NoReturn:
    """Raise NeedsLatch for a call."""
    raise NeedsLatch(f"{what} needs Latch's service: {hint}")


def _say(text: str) -> None:
    print(f"nfresume: {text}", file=sys.stderr, flush=True)


# -- executions -----------------------------------------------------------------------------------


def rename_current_execution(name: str) -> None:
    """Do nothing but say so: an execution of nfresume keeps its id."""
    _say(f"rename_current_execution({name!r}): the execution keeps its id")


def add_execution_results(results: Sequence[str]) -> None:
    """Say which results the workflow names. They are where the workflow puts them."""
    _say(f"results: {', '.join(map(str, results))}")


def report_nextflow_used_storage(used_bytes: int) -> None:
    """Do nothing: nfresume measures work dirs itself."""


def report_program_counter(*_values: object, **_more: object) -> None:
    """Do nothing: Latch shows the progress of a task so."""


@dataclass(frozen=True)
class TaskIdentifier:
    """Which task this process runs."""

    token: str
    node_name: str
    retry: int
    arr_index: int | None = None
    arr_retry: int | None = None


@dataclass
class ExecutionMetadata:
    """The execution that this process belongs to. Its name is its id."""

    execution_id: str
    execution_name: str
    workflow_id: str
    workflow_name: str
    workflow_version: str


def get_task_identifier() -> TaskIdentifier | None:
    """None, as outside of Latch's pods."""
    return None


def get_execution_metadata(*_token: object, **_more: object) -> ExecutionMetadata:
    """The running execution. Outside of one, all its fields are empty."""
    execution = os.environ.get("NFRESUME_EXECUTION", "")
    return ExecutionMetadata(execution, execution, "", execution.rpartition("-")[0], "")


# -- secrets --------------------------------------------------------------------------------------


def get_secret(secret_name: str) -> str:
    """A secret: the environment variable of its name, else the file of its name in the folder `task_secrets`.

    Raises NeedsLatch when there is neither.
    """
    if (value := os.environ.get(secret_name)) is not None:
        return value
    from nfresume import settings  # reads a file, which few tasks need

    folder = settings.load().task_secrets
    if folder is not None and Path(secret_name).name == secret_name:
        file = folder / secret_name
        if file.is_file():
            return file.read_text().rstrip("\n")
    refuse(f"get_secret({secret_name!r})",
           f"set the environment variable {secret_name}, or put the secret into a file of that name in the "
           "folder of the setting task_secrets")


def known_secrets(names: Mapping[str, str]) -> dict[str, str]:
    """The secrets that are set, by environment variable. `names` are their names by variable."""
    found = {}
    for variable, name in names.items():
        with contextlib.suppress(NeedsLatch):  # the task fails when it asks for it, if it does
            found[variable] = get_secret(name)
    return found


# -- registry and accounts ------------------------------------------------------------------------


class Remote:
    """An object of Latch's service, such as a Table of its registry. All its methods raise NeedsLatch."""

    def __init__(self, id: str = "", *_more: object, **_fields: object) -> None:  # noqa: A002 - Latch's name
        self.id = str(id)

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *_, **__: refuse(f"{type(self).__name__}.{name}()")

    @classmethod
    def current(cls) -> Remote:
        """The account that is logged in. Its methods raise NeedsLatch."""
        return cls("current")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r})"


def _kind(name: str, module: str, base: type = Remote) -> type:
    return type(name, (base,), {"__module__": module, "__doc__": f"{name} of Latch's service."})


def _kinds(module: str, *names: str) -> dict[str, type]:
    return {name: _kind(name, module, Exception if name.endswith(("Error", "Exception")) else Remote)
            for name in names}


# -- workflows of others --------------------------------------------------------------------------


class Reference:
    """A workflow that is registered with Latch. It can be named, but not called."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *_values: object, **_inputs: object) -> NoReturn:
        refuse(f"the workflow {self.name!r}", "import its file, and call the workflow itself")


def workflow_reference(name: str, version: str) -> Callable[[Any], Reference]:
    """A decorator: the function becomes the reference to a registered workflow, which raises NeedsLatch."""
    return lambda _function: Reference(f"{name}@{version}")


def reference_launch_plan(
    _project: str = "", _domain: str = "", name: str = "", version: str = "", **_where: str
) -> Callable[[Any], Reference]:
    """The form of flytekit of `workflow_reference`; also of its reference_workflow and reference_task."""
    return workflow_reference(name, version)


#: The names of each module. Those of PREFERRED are taken from the installed package, if there is one.
MODULES: Mapping[str, Mapping[str, Any]] = {
    "latch.executions": {f.__name__: f for f in (
        rename_current_execution, add_execution_results, report_nextflow_used_storage, report_program_counter,
        get_task_identifier, get_execution_metadata, TaskIdentifier, ExecutionMetadata)},
    "latch.functions.secrets": {"get_secret": get_secret},
    "latch.account": _kinds("latch.account", "Account", "AccountUpdate", "AccountNotFoundError"),
    "latch.registry": {},
    "latch.registry.table": _kinds("latch.registry.table", "Table", "TableUpdate", "TableNotFoundError",
                                   "InvalidColumnTypeError"),
    "latch.registry.record": _kinds("latch.registry.record", "Record", "RecordNotFoundError",
                                    "NoSuchColumnError"),
    "latch.registry.project": _kinds("latch.registry.project", "Project", "ProjectUpdate",
                                     "ProjectNotFoundError"),
    "latch.registry.types": _kinds(
        "latch.registry.types", "Column", "InvalidValue", "RegistryEnumDefinition", "LinkedRecordType",
        "RegistryPythonValue", "RecordValue", "RegistryPythonType", "RegistryPrimitivePythonType",
        "RegistryPrimitivePythonValue"),
    "latch.resources.reference_workflow": {"workflow_reference": workflow_reference},
    "flytekit.extras.persistence": _kinds("flytekit.extras.persistence", "LatchPersistence"),
}
PREFERRED = frozenset({name for name in MODULES if name.startswith(("latch.registry", "latch.account"))})
