"""Load the Python file that declares a workflow."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import linecache
import random
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from nfresume.domain.executions import python_workflow
from nfresume.system import asking
from nfresume.tasks import declaring, promises, standins
from nfresume.tasks.declaring import Task, Workflow

Declared = TypeVar("Declared", Workflow, Task)
#: The state of Python's random numbers before a file was loaded: only in this process.
_unseeded = random.getstate()


def has_seeded() -> bool:
    """True when the loaded file has seeded random numbers, as an import of numpy's does by itself.

    On Latch each task imports the file: what the file seeds is the same for each, what seeds itself is not.
    In a fork of this process it would be the other way round.
    """
    return "numpy.random" in sys.modules or random.getstate() != _unseeded


def load(file: Path) -> ModuleType:
    """Import a file as a module of its package. From then on, Latch's modules are nfresume's in this process.

    Raises whatever the file raises.
    """
    standins.install()
    sys.dont_write_bytecode = True  # leave no __pycache__ in the launch dir
    top, names = package_of(file)
    if names[0] in sys.stdlib_module_names:
        importlib.import_module(names[0])  # so that nobody gets the workflow's file instead of it
    sys.path.insert(0, str(top))
    declaring.declared_tasks.clear()
    promises.loading(True)
    try:
        if len(names) == 1 and ("." in names[0] or names[0] in sys.modules):
            module = _load_as(re.sub(r"\W", "_", names[0]), file)
        else:
            module = importlib.import_module(".".join(names))
    finally:
        promises.loading(False)
    _keep_sources()
    return module


def _load_as(name: str, file: Path) -> ModuleType:
    """Import a file whose name cannot be a module's, or is that of another module."""
    while name in sys.modules:
        name += "_"
    inside = [str(file.parent)] if file.name == "__init__.py" else None
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=inside)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def package_of(file: Path) -> tuple[Path, list[str]]:
    """The folder from which a file's module is imported, and the parts of the module's name."""
    top, names = file.parent, [] if file.name == "__init__.py" else [file.stem]
    while (top / "__init__.py").is_file():
        names.insert(0, top.name)
        top = top.parent
    return top, names


def _keep_sources() -> None:
    """Keep the source text that was loaded, so that a later change of a file changes no key of this run.

    What the tasks use of other files is read at once, for the same reason.
    """
    for task in declaring.declared_tasks:
        code = getattr(inspect.unwrap(task.function), "__code__", None)
        if code is not None and (lines := linecache.getlines(code.co_filename)):
            text = "".join(lines)  # without a time stamp linecache does not look at the file again
            linecache.cache[code.co_filename] = (len(text), None, lines, code.co_filename)
    for task in declaring.declared_tasks:
        task.helpers  # noqa: B018 - is kept


def explain(error: BaseException, what: str, here: Path) -> str:
    """Why `file.py:name` cannot be loaded, in one line."""
    split = python_workflow(what)
    if type(error) is LookupError or split is None:
        return str(error)
    return asking.explain(error, (here / split[0]).resolve())


def workflow(module: ModuleType, name: str) -> Workflow:
    """The workflow of this name. Raises LookupError with the names of the module's workflows."""
    return _declared(module, name, Workflow, "workflow")


def task(module: ModuleType, name: str) -> Task:
    """The task of this name. Raises LookupError with the names of the module's tasks."""
    return _declared(module, name, Task, "task")


def _declared(module: ModuleType, name: str, kind: type[Declared], called: str) -> Declared:
    found = getattr(module, name, None)
    if isinstance(found, kind):
        return found
    there = [key for key, value in vars(module).items() if isinstance(value, kind)]
    raise LookupError(f"{module.__file__} has no {called} {name!r}; it has {', '.join(there) or 'none'}")
