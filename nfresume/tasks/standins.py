"""Stand-ins for the modules of `latch` and `flytekit`, for `latch_metadata` files and Python workflows.

The stand-ins are used even where `latch` is installed, so that a file means the same on every machine. A name
that they do not provide comes from the installed package. While that package is imported, the stand-ins are
out of the way. After `installed()`, `sys.modules` is as it was before. `names` has all that is provided.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import nfresume_metadata as ours

from nfresume.tasks import foreign, meeting

_FAMILIES = ("latch", "latch_cli", "flytekit", "flytekitplugins")
#: Packages that come with latch. They are provided where they are not installed.
_COMPANIONS = ("kubernetes", "dataclasses_json", "mashumaro")
#: Python's modules whose names Latch's modules have without offering them. Some files import them from there.
_LEAKING = ("typing", "dataclasses", "enum")
#: A folder with a package for each family, for processes that Python's multiprocessing starts: see `install`.
_PACKAGES = str(Path(__file__).parent / "importable")


@functools.cache
def _provided() -> dict[str, Mapping[str, Any]]:
    from nfresume.tasks import names  # only for files that import the stand-ins

    return names.provided()


def _value(module: str, name: str) -> Any:
    """A provided name. Raises KeyError. What is registered last is asked for at each time."""
    if (module, name) == ("latch.types.metadata", "_nextflow_metadata"):
        return ours.last_nextflow_metadata()
    return _provided()[module][name]


class _Standin(ModuleType):
    """A module with nfresume's names. Any other name is looked up in the installed package."""

    __path__: list[str] = []  # noqa: RUF012 - the import system's own attribute, one per module

    def __getattr__(self, name: str) -> Any:
        if name == "__all__":  # for `from latch.types import *`
            return [each for each in _provided().get(self.__name__, ()) if not each.startswith("_")]
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return _value(self.__name__, name)
        except KeyError:
            pass
        if f"{self.__name__}.{name}" in _provided():
            return importlib.import_module(f"{self.__name__}.{name}")
        with set_aside():
            try:
                return getattr(importlib.import_module(self.__name__), name)
            except (ImportError, AttributeError):
                pass
            try:
                return importlib.import_module(f"{self.__name__}.{name}")
            except ImportError:
                pass
        try:
            return _leaked(self.__name__, name)
        except AttributeError:
            if name.startswith("_") or self.__name__.split(".")[0] not in foreign.FAMILIES:
                raise
        return foreign.kind(self.__name__, name)


def _leaked(module: str, name: str) -> Any:
    """A name that a module of Latch has, but does not offer.

    Such as `List`, `_is_valid_url` for `is_valid_url`, or one that it has from another module of Latch.

    Raises AttributeError for any other name.
    """
    if name.startswith("_") and name[1:] in _provided().get(module, ()):
        return _value(module, name[1:])
    for leaking in _LEAKING:
        if name in (found := importlib.import_module(leaking)).__all__:
            return getattr(found, name)
    if name in ("Path", "re", "os", "sys"):
        return Path if name == "Path" else importlib.import_module(name)
    for other, values in _provided().items():
        if other.split(".")[0] == module.split(".")[0] and name in values:
            return values[name]
    raise AttributeError(f"{module}.{name} is not provided by nfresume, and no installed package has it")


class _Finder(MetaPathFinder, Loader):
    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if fullname.split(".")[0] not in _FAMILIES:
            return None
        return ModuleSpec(fullname, self, is_package=fullname in _provided())

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        if spec.name not in _provided():
            with set_aside():
                try:
                    return importlib.import_module(spec.name)
                except ModuleNotFoundError as e:
                    if not _is_foreign(spec.name, str(e.name)):
                        raise ModuleNotFoundError(
                            f"{spec.name} is not provided by nfresume, and not installed here ({e})",
                            name=spec.name,
                        ) from None
        module = _Standin(spec.name)
        vars(module).update(_preferred(spec.name) or _provided().get(spec.name, {}))
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: `create_module` has filled the module."""


def _is_foreign(module: str, missing: str) -> bool:
    """Whether a module is one of flytekit's that is not installed itself, for which a stand-in does."""
    return module.split(".")[0] in foreign.FAMILIES and f"{module}.".startswith(f"{missing}.")


def _preferred(module: str) -> dict[str, Any]:
    """The names of an installed module that has what ours can only refuse; empty when it is not installed."""
    from nfresume.tasks import cloud

    if module not in cloud.PREFERRED:
        return {}
    with set_aside():
        try:
            found = importlib.import_module(module)
        except ImportError:
            return {}
    return {name: value for name, value in vars(found).items() if not name.startswith("__")}


class _Fallback(MetaPathFinder, Loader):
    """Provides the modules of packages that are not installed. It is asked last."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if fullname.split(".")[0] not in _COMPANIONS:
            return None
        from nfresume.tasks import names

        return ModuleSpec(fullname, self, is_package=True) if fullname in names.FALLBACK else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        from nfresume.tasks import names

        module = ModuleType(spec.name)
        make = names.FALLBACK[spec.name]

        def find(name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return make(name)

        vars(module).update({"__getattr__": find, "__path__": []})
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: the names are made when they are asked for."""


_finder, _fallback = _Finder(), _Fallback()
_real: dict[str, ModuleType] = {}


def _family(name: str) -> bool:
    return name.split(".")[0] in _FAMILIES


@contextmanager
def set_aside() -> Iterator[None]:
    """Replace the stand-ins by the installed packages until the end of the block."""
    aside = {n: m for n, m in sys.modules.items() if _family(n)}
    for name in aside:
        del sys.modules[name]
    sys.modules.update(_real)
    sys.meta_path.remove(_finder)
    folders, sys.path[:] = list(sys.path), [folder for folder in sys.path if folder != _PACKAGES]
    try:
        yield
    finally:
        sys.path[:] = folders + [folder for folder in sys.path if folder not in folders]
        sys.meta_path.insert(0, _finder)
        _real.update({n: m for n, m in sys.modules.items() if _family(n)})
        meeting.meet(_real)
        for name in _real:
            sys.modules.pop(name, None)
        sys.modules.update(aside)


def install() -> None:
    """Use the stand-ins from now on, in a process that runs a workflow.

    A process that Python's multiprocessing starts anew gets the folders of `sys.path`, but no finder. There
    the packages of the folder `importable` call this function.
    """
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
        sys.meta_path.append(_fallback)
        sys.path.insert(0, _PACKAGES)


def replace(module: str) -> None:
    """Put the stand-in in the place of a package of the folder `importable`, which is being imported."""
    install()
    del sys.modules[module]
    importlib.import_module(module)


@contextmanager
def installed() -> Iterator[None]:
    """Use the stand-ins until the end of the block."""
    aside = {n: m for n, m in sys.modules.items() if _family(n)}
    for name in aside:
        del sys.modules[name]
    sys.meta_path.insert(0, _finder)
    sys.meta_path.append(_fallback)
    try:
        yield
    finally:
        sys.meta_path.remove(_finder)
        sys.meta_path.remove(_fallback)
        for name in [n for n in sys.modules if _family(n)]:
            del sys.modules[name]
        sys.modules.update(aside)
        _real.clear()
