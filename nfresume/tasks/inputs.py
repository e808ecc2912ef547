"""Inputs of a workflow: words and JSON values are converted to the types of its parameters."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import json
import types
import typing
from collections import OrderedDict, abc, deque
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Any
from uuid import UUID

from nfresume_metadata import LatchDir, LatchFile, LPath, SamplesheetItem

from nfresume.tasks import shapes
from nfresume.tasks.source import hints_of, type_text

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
#: The annotation of a path that the task writes to. It need not exist, and its digest is that of the path.
OUTPUT = {"output": True}


class BadInput(ValueError):
    """A value does not fit its parameter's type. The message names parameter, type and value."""


class Word(str):
    """A word of the command line. Unlike a text from JSON or YAML it may stand for a value of any type."""

    __slots__ = ()


def as_json(given: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs as given, as JSON that tells words from other texts."""
    return {"values": dict(given), "words": [name for name, v in given.items() if isinstance(v, Word)]}


def of_json(data: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs from the JSON of `as_json`."""
    return {name: Word(value) if name in data["words"] else value for name, value in data["values"].items()}


def is_output(kind: Any) -> bool:
    """True for LatchOutputFile and LatchOutputDir."""
    return any(getattr(extra, "data", None) == OUTPUT for extra in getattr(kind, "__metadata__", ()))


def of_workflow(
    function: Any, given: Mapping[str, Any], base: Path, hints: Mapping[str, Any]
) -> dict[str, Any]:
    """All inputs by name, converted, with defaults. Relative paths refer to the folder `base`.

    Raises BadInput for an input that is unknown, missing or of the wrong type.
    """
    parameters = inspect.signature(function).parameters
    if unknown := [name for name in given if name not in parameters]:
        known = ", ".join(f"--{name}" for name in parameters) or "no inputs"
        raise BadInput(f"there is no input {unknown[0]!r}; the workflow has {known}")
    missing = [name for name, p in parameters.items() if p.default is p.empty and name not in given]
    if missing:
        kinds = ", ".join(f"--{name} ({type_text(hints.get(name, Any))})" for name in missing)
        raise BadInput(f"inputs are missing: {kinds}")
    places = {name: p.default for name, p in parameters.items() if isinstance(p.default, LatchFile | LatchDir)
              and is_output(hints.get(name)) and p.default.remote_path is None}
    asked = {**places, **given}
    return {name: convert(asked[name], hints.get(name, Any), f"--{name}", base) if name in asked
            else p.default for name, p in parameters.items()}


def convert(value: Any, kind: Any, where: str, base: Path) -> Any:
    """Convert `value`, a text or a JSON value, to the type `kind`. Raises BadInput.

    `where` names the input in messages. Relative paths refer to the folder `base`.
    """
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    plain = origin or kind
    if origin is typing.Annotated:
        return _path(value, parts[0], where, base, exists=False) if is_output(kind) else convert(
            value, parts[0], where, base)
    if origin in (typing.Union, types.UnionType):
        return _union(value, parts, where, base)
    if origin is typing.Literal:
        return _literal(value, parts, where)
    if origin is SamplesheetItem:
        if isinstance(value, SamplesheetItem):
            return value
        row = _json(value, dict, where)
        wrapped = isinstance(row, Mapping) and "data" in row and row.keys() <= {"data", "record", "record_id"}
        return SamplesheetItem(convert(row["data"] if wrapped else row, parts[0], where, base))
    if (made_as := _made_as(plain)) is not None:
        return _container(value, kind, made_as, parts, where, base)
    if typing.is_typeddict(plain):
        return _typed_dict(value, plain, where, base)
    if kind in _SCALARS:
        return _SCALARS[kind](value, where)
    if isinstance(plain, type):
        if issubclass(plain, Enum):
            return _enum(value, plain, where)
        if dataclasses.is_dataclass(plain):
            return _dataclass(value, plain, where, base)
        if shapes.is_model(plain):
            return _model(value, plain, where, base)
        if shapes.is_named_tuple(plain):
            return _named_tuple(value, plain, where, base)
        if issubclass(plain, LatchFile | LatchDir | LPath | Path):
            return _path(value, plain, where, base)
        if plain in _WRITTEN:
            return _written(value, plain, where)
    return str(value) if isinstance(value, Word) else value


def _wrong(value: Any, what: str, where: str) -> BadInput:
    return BadInput(f"{where}: {str(value)[:80]!r} is not {what}")


def _bool(value: Any, where: str) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in (*_TRUE, *_FALSE):
        return value.lower() in _TRUE
    raise _wrong(value, "true or false", where)


def _int(value: Any, where: str) -> int:
    try:
        if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
            raise ValueError
        return int(value)
    except (TypeError, ValueError, OverflowError):
        raise _wrong(value, "a whole number", where) from None


def _float(value: Any, where: str) -> float:
    try:
        if isinstance(value, bool):
            raise ValueError
        return float(value)
    except (TypeError, ValueError):
        raise _wrong(value, "a number", where) from None


def _str(value: Any, where: str) -> str:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)  # in YAML and JSON a text that looks like a number is a number
    raise _wrong(value, "a text", where)


def _none(value: Any, where: str) -> None:
    if value is None or (isinstance(value, str) and value.lower() in ("", "null", "none")):
        return
    raise _wrong(value, "nothing", where)


def _datetime(value: Any, where: str) -> datetime:
    try:
        return value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise _wrong(value, "a date and time such as 2026-01-31T12:00:00", where) from None


def _date(value: Any, where: str) -> date:
    try:
        return value if isinstance(value, date) else date.fromisoformat(value)
    except (TypeError, ValueError):
        raise _wrong(value, "a date such as 2026-01-31", where) from None


def _timedelta(value: Any, where: str) -> timedelta:
    return value if isinstance(value, timedelta) else timedelta(seconds=_float(value, where))


#: Types whose values are made from their text.
_WRITTEN: tuple[Any, ...] = (Decimal, Fraction, UUID, complex)
#: What a collection of each type is made as.
_COLLECTIONS: dict[Any, Any] = {
    **{kind: kind for kind in (list, set, frozenset, tuple, dict, deque, OrderedDict)},
    **dict.fromkeys((abc.Sequence, abc.MutableSequence, abc.Collection, abc.Iterable), list),
    **dict.fromkeys((abc.Mapping, abc.MutableMapping), dict), abc.Set: set, abc.MutableSet: set,
}


def _made_as(kind: Any) -> Any:
    """The type of collection that a value of this type is; None for other types."""
    return _COLLECTIONS.get(kind) if isinstance(kind, type) else None


def _written(value: Any, kind: Any, where: str) -> Any:
    try:
        return value if isinstance(value, kind) else kind(str(value))
    except (ValueError, ArithmeticError):
        raise _wrong(value, f"a {kind.__name__}", where) from None


_SCALARS: dict[Any, Any] = {
    bool: _bool, int: _int, float: _float, str: _str, type(None): _none, None: _none,
    datetime: _datetime, date: _date, timedelta: _timedelta,
}


def _union(value: Any, parts: tuple[Any, ...], where: str, base: Path) -> Any:
    """The type that the value has, if the union names it; else the first type that fits.

    A word has the type that it would have in JSON. Of the others None is tried first, and str last, because
    every word fits it. If none fits, the message says for each type what is wrong in it.
    """
    if type(typed := _typed(value)) in parts and (typed != value or not isinstance(value, Word)):
        return typed
    problems: list[tuple[Any, BadInput]] = []
    for part in sorted(parts, key=lambda p: (p is not type(None), p is str)):
        try:
            return convert(value, part, where, base)
        except BadInput as e:
            problems.extend([(part, e)] if part is not type(None) else [])
    if len(problems) == 1:
        raise problems[0][1]
    raise _wrong(value, " or ".join(_why_not(part, e, value, where) for part, e in problems), where)


def _why_not(part: Any, problem: BadInput, value: Any, where: str) -> str:
    """A type of a union, with what is wrong in the value if it is more than its type."""
    inner = str(problem).removeprefix(where).removeprefix(": ").removeprefix(".")
    return type_text(part) if inner.startswith(repr(str(value)[:80])) else f"{type_text(part)} ({inner})"


def _typed(value: Any) -> Any:
    """A word that is a number, true or false in JSON as that; any other value as it is."""
    if isinstance(value, Word):
        with contextlib.suppress(ValueError):
            if type(found := json.loads(value)) in (bool, int, float):
                return found
        return str(value)
    return value


def _literal(value: Any, parts: tuple[Any, ...], where: str) -> Any:
    for part in parts:  # Literal[1, "1"] has two choices of one text
        if type(typed := _typed(value)) is type(part) and typed == part:
            return part
    return _choice(value, {str(part): part for part in parts}, where)


def _choice(value: Any, choices: Mapping[str, Any], where: str) -> Any:
    for text, chosen in choices.items():
        if str(value) == text:
            return chosen
    raise _wrong(value, f"one of {', '.join(choices)}", where)


def _enum(value: Any, kind: type[Enum], where: str) -> Enum:
    if isinstance(value, kind):
        return value
    choices = {member.name: member for member in kind} | {str(member.value): member for member in kind}
    found: Enum = _choice(value, choices, where)
    return found


def _json(value: Any, what: type, where: str) -> Any:
    """The list or mapping that a text holds as JSON. Other values are returned as they are."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise _wrong(value, f"a {what.__name__} in JSON", where) from None
    return value


def _container(value: Any, kind: Any, origin: Any, parts: tuple[Any, ...], where: str, base: Path) -> Any:
    is_dict = issubclass(origin, dict)
    value = _json(value, dict if is_dict else list, where)
    if is_dict:
        if not isinstance(value, Mapping):
            raise _wrong(value, type_text(kind), where)
        of_key, of_value = parts or (Any, Any)
        return origin((convert(k, of_key, where, base), convert(v, of_value, f"{where}.{k}", base))
                      for k, v in value.items())
    if not isinstance(value, list | tuple | set | frozenset | deque):
        raise _wrong(value, type_text(kind), where)
    kinds: list[Any] = [parts[0] if parts else Any] * len(value)
    if origin is tuple and parts and Ellipsis not in parts:
        if len(parts) != len(value):
            raise _wrong(value, f"a tuple of {len(parts)}", where)
        kinds = list(parts)
    return origin(convert(item, each, f"{where}[{at}]", base)
                  for at, (item, each) in enumerate(zip(value, kinds, strict=True)))


def _dataclass(value: Any, kind: Any, where: str, base: Path) -> Any:
    if isinstance(value, kind):
        return value
    value = _by_name(value, kind, where)
    fields = {f.name: f for f in dataclasses.fields(kind) if f.init}
    if unknown := [name for name in value if name not in fields]:
        raise BadInput(f"{where}: {kind.__name__} has no field {unknown[0]!r}")
    missing = [name for name, f in fields.items() if name not in value
               and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING]
    if missing:
        raise BadInput(f"{where}: {kind.__name__} needs {', '.join(missing)}")
    return kind(**_converted(value, kind, where, base))


def _typed_dict(value: Any, kind: Any, where: str, base: Path) -> Any:
    found = _by_name(value, kind, where)
    hints = hints_of(kind)
    if unknown := [name for name in found if name not in hints]:
        raise BadInput(f"{where}: {kind.__name__} has no field {unknown[0]!r}")
    if missing := [name for name in hints if name in kind.__required_keys__ and name not in found]:
        raise BadInput(f"{where}: {kind.__name__} needs {', '.join(missing)}")
    return _converted(found, kind, where, base)


def _by_name(value: Any, kind: Any, where: str) -> Mapping[str, Any]:
    """The fields of something that has them by name. Raises BadInput."""
    found = _json(value, dict, where)
    if not isinstance(found, Mapping):
        raise _wrong(found, kind.__name__, where)
    return found


def _converted(found: Mapping[str, Any], kind: Any, where: str, base: Path) -> dict[str, Any]:
    hints = hints_of(kind)
    return {k: convert(v, hints.get(k, Any), f"{where}.{k}", base) for k, v in found.items()}


def _model(value: Any, kind: Any, where: str, base: Path) -> Any:
    """A model of pydantic, which checks it. Raises BadInput."""
    if isinstance(value, kind):
        return value
    made = _converted(_by_name(value, kind, where), kind, where, base)
    try:
        return kind(**made)
    except ValueError as e:
        raise BadInput(f"{where}: {' '.join(str(e).split())}") from None


def _named_tuple(value: Any, kind: Any, where: str, base: Path) -> Any:
    """From its fields by name, or from the list of them. Raises BadInput."""
    if isinstance(value, kind):
        return value
    found = value
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            found = json.loads(value)
    names = kind._fields
    if isinstance(found, list | tuple) and len(found) <= len(names):
        found = dict(zip(names, found, strict=False))
    if not isinstance(found, Mapping) or not found.keys() <= set(names):
        raise _wrong(value, f"a {kind.__name__} ({', '.join(names)})", where)
    if missing := [name for name in names if name not in found and name not in kind._field_defaults]:
        raise BadInput(f"{where}: {kind.__name__} needs {', '.join(missing)}")
    return kind(**_converted(found, kind, where, base))


def urls_in(value: Any, kind: Any) -> Iterator[str]:
    """The URLs of remote files and folders in an input of type `kind`, without places for output."""
    if is_output(kind):
        return
    if isinstance(value, LatchFile | LatchDir):
        if "://" in value.path:
            yield value.path
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from urls_in(item, Any)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from urls_in(item, Any)
    elif not isinstance(value, type) and (names := shapes.fields_of(type(value))) is not None:
        hints = hints_of(type(value))
        for name in names:
            yield from urls_in(getattr(value, name), hints.get(name, Any))


def _path(value: Any, kind: Any, where: str, base: Path, *, exists: bool = True) -> Any:
    """An absolute path as `kind`; a URL is kept. With `exists`, a local LatchFile or LatchDir must exist.

    Without, it is a place for output.
    """
    if not isinstance(value, str | Path | LatchFile | LatchDir | LPath) or not str(value):
        raise _wrong(value, "a path", where)
    text = value.path if isinstance(value, LatchFile | LatchDir | LPath) else str(value)
    if "://" in text and not text.startswith("file://"):
        return kind(text)
    path = base / Path(text.removeprefix("file://")).expanduser()
    if exists and issubclass(kind, LatchFile | LatchDir):
        wanted, there = ("a folder", path.is_dir()) if issubclass(kind, LatchDir) else ("a file",
                                                                                       path.is_file())
        if not there:
            raise _wrong(text, f"{wanted} that exists", where)
    if not exists and issubclass(kind, LatchFile | LatchDir):
        return getattr(kind, "place", kind)(str(path))  # the installed package's classes have none
    return kind(str(path))
