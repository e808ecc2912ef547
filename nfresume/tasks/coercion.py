"""What a task or workflow returned, as its type declares it: None is refused where it is not declared.

Texts and paths where a task declares a LatchFile or LatchDir are files and folders for Flyte.
"""

from __future__ import annotations

import copy
import dataclasses
import types
import typing
from pathlib import PurePath
from typing import Any

from nfresume_metadata import LatchDir, LatchFile

from nfresume.tasks import shapes
from nfresume.tasks.source import hints_of, type_text

#: Python's own types, by what a task means that declares one of them.
_FAMILIES: dict[Any, str] = {bool: "number", int: "number", float: "number", str: "text", list: "several",
                             tuple: "several", set: "several", dict: "by name"}


def as_declared(value: Any, kind: Any) -> Any:
    """The value with texts and paths turned into LatchFile and LatchDir where its type declares these.

    It looks into lists, dicts, tuples and fields of dataclasses. A value that needs no change is returned as
    it is.
    """
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return as_declared(value, parts[0])
    if isinstance(value, str | PurePath):
        return _path(value, kind, parts)
    if origin in (typing.Union, types.UnionType):
        return next((made for part in parts if (made := as_declared(value, part)) is not value), value)
    if isinstance(value, dict) and origin is dict:
        return _changed(value, {k: as_declared(v, _of_items(parts)) for k, v in value.items()})
    if isinstance(value, list) and origin is list:
        return _changed(value, [as_declared(item, _of_items(parts)) for item in value])
    if isinstance(value, tuple):
        return _tuple(value, kind, parts)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _fields(value)
    return value


def _of_items(parts: tuple[Any, ...]) -> Any:
    """The type of the items of a list, or of the values of a dict; a bare `List` does not say."""
    return parts[-1] if parts else Any


def as_result(value: Any, kind: Any) -> Any:
    """What a task returned, as its type.

    Instead of a NamedTuple it may be a plain tuple, and for one with a single field also the field's value.
    Raises TypeError as `check_given` does.
    """
    if not isinstance(value, tuple) and shapes.is_named_tuple(kind) and len(kind._fields) == 1:
        value = (value,)
    value = named(value, kind)
    check_given(value, kind, types=True)
    return as_declared(value, kind)


def check_given(value: Any, kind: Any, *, types: bool = False) -> None:
    """Raise TypeError for a result that is plainly not of its type.

    It is None where a value is declared, for a `return` may be missing. With `types`, for a task, it is also
    a tuple with too many or too few members, or a text where a number is declared, and the like.
    """
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        check_given(value, parts[0], types=types)
    elif value is None and not _takes_none(kind):
        raise TypeError(f"it returned None, and declares {type_text(kind)}: return a value, or declare that "
                        "it is Optional")
    elif types and _differs(value, kind, origin or kind, parts):
        found = f"{len(value)} values" if isinstance(value, tuple) else f"a {type(value).__name__}"
        raise TypeError(f"it returned {found}, and declares {type_text(kind)}: return what it declares")
    elif type(value) is list and origin is list:
        for item in value:
            check_given(item, _of_items(parts), types=types)
    elif type(value) is dict and origin is dict:
        for item in value.values():
            check_given(item, _of_items(parts), types=types)
    elif isinstance(value, tuple):
        for item, each in zip(value, _kinds_in(value, kind, parts), strict=False):
            check_given(item, each, types=types)


def _differs(value: Any, kind: Any, plain: Any, parts: tuple[Any, ...]) -> bool:
    """Whether a value is of another family of Python's own types, or a tuple of another length."""
    declared, found = _FAMILIES.get(plain), _FAMILIES.get(type(value))
    if declared and found and declared != found:
        return True
    members = kind if isinstance(kind, tuple) else getattr(kind, "_fields", None)
    if plain is tuple and parts and Ellipsis not in parts:
        members = parts
    return members is not None and found == "several" and len(value) != len(members)


def _takes_none(kind: Any) -> bool:
    """Whether None is a value of a type. What is no class may be anything."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return any(_takes_none(part) for part in typing.get_args(kind))
    plain = typing.get_origin(kind) or kind
    return kind in (Any, None, types.NoneType, object) or not isinstance(plain, type)


def named(value: Any, kind: Any) -> Any:
    """A plain tuple as the NamedTuple that is declared, if it has as many members; else the value itself."""
    fits = type(value) is tuple and shapes.is_named_tuple(kind) and len(value) == len(kind._fields)
    return kind(*value) if fits else value


def _path(value: str | PurePath, kind: Any, parts: tuple[Any, ...]) -> Any:
    if kind in (LatchFile, LatchDir):
        return kind(str(value))
    found = [part for part in parts if part in (LatchFile, LatchDir)]
    taken = isinstance(value, parts_as_types(parts))
    return found[0](str(value)) if len(found) == 1 and not taken else value


def parts_as_types(parts: tuple[Any, ...]) -> tuple[type, ...]:
    """Those of the parts of a type that are classes."""
    return tuple(part for part in parts if isinstance(part, type))


def _tuple(value: tuple[Any, ...], kind: Any, parts: tuple[Any, ...]) -> Any:
    kinds = _kinds_in(value, kind, parts)
    if len(kinds) != len(value):
        return value
    made = tuple(as_declared(v, each) for v, each in zip(value, kinds, strict=True))
    changed = _changed(value, made)
    return type(value)(*made) if changed is made and hasattr(value, "_fields") else changed


def _kinds_in(value: tuple[Any, ...], kind: Any, parts: tuple[Any, ...]) -> tuple[Any, ...]:
    """The types that a type declares for the members of a tuple; empty when it does not say."""
    if hasattr(value, "_fields"):
        hints = hints_of(type(value))
        return tuple(hints.get(name, Any) for name in value._fields)
    if isinstance(kind, tuple) and len(kind) == len(value):  # an annotation such as (LatchFile, str)
        return kind
    if Ellipsis in parts:
        return parts[:1] * len(value)
    return parts if len(parts) == len(value) else ()


def _changed(value: Any, made: Any) -> Any:
    """The value itself when nothing in it was changed, so that subclasses and identity stay."""
    items = zip(made.values(), value.values(), strict=True) if isinstance(made, dict) else zip(
        made, value, strict=True)
    return value if all(a is b for a, b in items) else made


def _fields(value: Any) -> Any:
    hints = hints_of(type(value))
    made = {}
    for field in dataclasses.fields(value):
        before = getattr(value, field.name, None)
        if (after := as_declared(before, hints.get(field.name, Any))) is not before:
            made[field.name] = after
    if not made:
        return value
    changed = copy.copy(value)
    for name, item in made.items():
        object.__setattr__(changed, name, item)  # also of a frozen one
    return changed
