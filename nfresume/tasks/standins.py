"""Stand-ins for the modules of `latch` and `flytekit`, for `latch_metadata` files and Python workflows.

The stand-ins are used even where `latch` is installed, so that a file means the same on every machine. A name
that they do not provide comes from the installed package. While that package is imported, the stand-ins are
out of the way. After `installed()`, `sys.modules` is as it was before.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import nfresume_metadata as ours

from nfresume import tasks

_FILES = ("LatchFile", "LatchDir", "LatchOutputFile", "LatchOutputDir")
_TASKS = tuple(tasks.__all__)
#: The provided names by module. Modules without names are packages of others.
PROVIDED: dict[str, tuple[str, ...]] = {
    "latch": _TASKS,
    "latch.resources": (),
    "latch.resources.tasks": _TASKS,
    "latch.resources.workflow": ("workflow",),
    "latch.resources.map_tasks": ("map_task",),
    "latch.resources.launch_plan": ("LaunchPlan",),
    "latch.functions": (),
    "latch.functions.messages": ("message",),
    "latch.types": (*_FILES, "LatchAuthor", "LatchMetadata", "LatchParameter", "LatchRule"),
    "latch.types.metadata": tuple(n for n in ours.__all__ if n not in (*_FILES, "LPath", "FlyteAnnotation")),
    "latch.types.file": ("LatchFile", "LatchOutputFile"),
    "latch.types.directory": ("LatchDir", "LatchOutputDir"),
    "latch.types.samplesheet_item": ("SamplesheetItem",),
    "latch.ldata": (),
    "latch.ldata.path": ("LPath",),
    "flytekit": ("task", "workflow", "map_task", "LaunchPlan"),
    "flytekit.core": (),
    "flytekit.core.annotation": ("FlyteAnnotation",),
}
_FAMILIES = ("latch", "flytekit")


class _Standin(ModuleType):
    """A module with nfresume's names. Any other name is looked up in the installed package."""

    __path__: list[str] = []  # noqa: RUF012 - the import system's own attribute, one per module

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        with _real_packages():
            try:
                return getattr(importlib.import_module(self.__name__), name)
            except (ImportError, AttributeError):
                pass
            try:
                return importlib.import_module(f"{self.__name__}.{name}")
            except ImportError:
                raise AttributeError(
                    f"{self.__name__}.{name} is not provided by nfresume, and no installed package has it"
                ) from None


class _Finder(MetaPathFinder, Loader):
    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if fullname.split(".")[0] not in _FAMILIES:
            return None
        return ModuleSpec(fullname, self, is_package=fullname in PROVIDED)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        if spec.name not in PROVIDED:
            with _real_packages():
                try:
                    return importlib.import_module(spec.name)
                except ModuleNotFoundError as e:
                    raise ModuleNotFoundError(
                        f"{spec.name} is not provided by nfresume, and not installed here ({e})",
                        name=spec.name,
                    ) from None
        module = _Standin(spec.name)
        for name in PROVIDED[spec.name]:
            setattr(module, name, getattr(ours if hasattr(ours, name) else tasks, name))
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: `create_module` has filled the module."""


_finder = _Finder()
_real: dict[str, ModuleType] = {}


def _family(name: str) -> bool:
    return name.split(".")[0] in _FAMILIES


@contextmanager
def _real_packages() -> Iterator[None]:
    """Replace the stand-ins by the installed packages until the end of the block."""
    aside = {n: m for n, m in sys.modules.items() if _family(n)}
    for name in aside:
        del sys.modules[name]
    sys.modules.update(_real)
    sys.meta_path.remove(_finder)
    try:
        yield
    finally:
        sys.meta_path.insert(0, _finder)
        _real.update({n: m for n, m in sys.modules.items() if _family(n)})
        for name in _real:
            sys.modules.pop(name, None)
        sys.modules.update(aside)


def install() -> None:
    """Use the stand-ins from now on, in a process that runs a workflow."""
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


@contextmanager
def installed() -> Iterator[None]:
    """Use the stand-ins until the end of the block."""
    aside = {n: m for n, m in sys.modules.items() if _family(n)}
    for name in aside:
        del sys.modules[name]
    sys.meta_path.insert(0, _finder)
    try:
        yield
    finally:
        sys.meta_path.remove(_finder)
        for name in [n for n in sys.modules if _family(n)]:
            del sys.modules[name]
        sys.modules.update(aside)
        _real.clear()
