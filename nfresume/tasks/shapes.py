"""The shape of a workflow's own classes: what a stored value of the class consists of.

A stored value is used again only while its class has the same shape. The shape of a dataclass or NamedTuple
is its fields, of an Enum its members, of any other class its code. Classes of Python and of installed
packages have no shape: they belong to the environment, as helper functions do.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import sys
import typing
from collections.abc import Iterable, Iterator
from enum import Enum
from types import ModuleType
from typing import Any

from nfresume.tasks import source
from nfresume.tasks.source import code_text, hints_of, type_text

_INSTALLED = ("site-packages", "dist-packages")


def class_name(kind: type) -> str:
    """The name of a class with its module: `assembly:Sample`."""
    return f"{kind.__module__}:{kind.__qualname__}"


def is_named_tuple(kind: Any) -> bool:
    """True for a class that `typing.NamedTuple` or `collections.namedtuple` has made."""
    return isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields")


def is_model(kind: Any) -> bool:
    """True for a class of pydantic."""
    return isinstance(kind, type) and isinstance(getattr(kind, "model_fields", None), dict)


def fields_of(kind: type) -> list[str] | None:
    """The names of the fields of a dataclass, NamedTuple or model, in their order; None for other classes."""
    if is_named_tuple(kind):
        return list(getattr(kind, "_fields", ()))
    if is_model(kind):
        return list(getattr(kind, "model_fields", ()))
    return [f.name for f in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else None


def fielded(value: Any) -> bool:
    """True for a NamedTuple, dataclass or model that consists of its fields, and of no inherited content."""
    kind = type(value)
    if isinstance(value, tuple):
        return hasattr(kind, "_fields") and kind.__base__ is tuple
    if is_model(kind):
        return not (value.__pydantic_extra__ or value.__pydantic_private__)
    if not dataclasses.is_dataclass(kind) or isinstance(value, list | dict | set | str | int | float | bytes):
        return False
    names = {f.name for f in dataclasses.fields(kind)}
    held = set(getattr(value, "__dict__", names)) - {"__orig_class__"}  # which Generic adds
    return held <= names and all(hasattr(value, name) for name in names)


def shape(kind: type) -> str | None:
    """The shape of a class as text, for people, too; None: it is not a class of the workflow."""
    if not _is_own(kind):
        return None
    if issubclass(kind, Enum):
        return ", ".join(f"{name}={shown(member.value)}" for name, member in kind.__members__.items())
    names = fields_of(kind)
    if names is None:
        return _code(kind)
    hints = hints_of(kind)
    return ", ".join(f"{name}: {type_text(hints.get(name, Any))}" for name in names)


def shapes_in(kinds: Iterable[Any]) -> dict[str, str]:
    """The shapes, by class name, of all own classes in these types: in their parameters and fields, too."""
    return {class_name(kind): text for kind, text in _own_in(kinds)}


@functools.lru_cache(maxsize=1000)
def under_another_name(module: ModuleType, name: str) -> type | None:
    """The class of this name that a module has under another one, or only in an annotation. None: not one.

    Such as `op = NamedTuple("Outputs", ...)`, `Sample = make_class()` and `-> NamedTuple("Outputs", ...)`.
    """
    there = list(vars(module).values())
    kinds = [each for each in there if isinstance(each, type)]
    kinds += [kind for each in there if hasattr(each, "__annotations__") for kind in hints_of(each).values()]
    found = {id(kind): kind for kind, _ in _own_in(kinds) if class_name(kind) == name}
    return next(iter(found.values())) if len(found) == 1 else None


def _own_in(kinds: Iterable[Any]) -> Iterator[tuple[type, str]]:
    """The own classes in these types, with their shapes."""
    waiting, seen = list(kinds), set()
    while waiting:
        kind = waiting.pop()
        if id(kind) in seen:
            continue
        seen.add(id(kind))
        waiting.extend(part for part in (typing.get_origin(kind), *typing.get_args(kind))
                       if not isinstance(part, str | int | bytes))
        if isinstance(kind, type) and (text := shape(kind)) is not None:
            yield kind, text
            if fields_of(kind) is not None:
                waiting.extend(hints_of(kind).values())


def _is_own(kind: type) -> bool:
    family = kind.__module__.partition(".")[0]
    if family in sys.stdlib_module_names or family in ("nfresume", "nfresume_metadata"):
        return False
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    return file is not None and not any(f"/{name}/" in file for name in _INSTALLED)


def shown(value: Any) -> str:
    """A value as text that is the same in every process."""
    return repr(value) if type(value) in (str, int, float, bool, bytes, type(None)) else type(value).__name__


def _code(kind: type) -> str:
    """The digest of a class's code; the names of its attributes when its source cannot be read."""
    try:
        text = code_text(source.parsed(kind))
    except (OSError, TypeError, SyntaxError):
        text = repr(sorted(vars(kind)))
    return f"code {hashlib.sha256(text.encode()).hexdigest()[:16]}"
