"""What Latch files use of `dataclasses_json` and `mashumaro`, where these packages are not installed.

Both come with latch, as dependencies of flytekit, so files import them without naming them. A dataclass gets
`to_dict`, `to_json`, `from_dict` and `from_json`. Other names and rules for fields need the package itself.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, NoReturn

from nfresume_metadata import LatchDir, LatchFile


def _plain(value: Any) -> Any:
    """What JSON has no word for, as `dataclasses_json` writes it."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, LatchFile | LatchDir):
        return value.remote_path or value.path
    return list(value) if isinstance(value, set | frozenset) else str(value)


class DataClassJsonMixin:
    """The methods that a dataclass gets."""

    def to_dict(self, encode_json: bool = False) -> dict[str, Any]:
        """The fields by name, those of dataclasses in it as dicts too."""
        found: dict[str, Any] = dataclasses.asdict(self)  # type: ignore[call-overload]
        return json.loads(json.dumps(found, default=_plain)) if encode_json else found

    def to_json(self, **options: Any) -> str:
        """The same as JSON."""
        return json.dumps(self.to_dict(), default=_plain, **options)

    @classmethod
    def from_dict(cls, kvs: Any, **_options: Any) -> Any:
        """An instance from the fields by name. Names that are no fields are left out. Raises BadInput."""
        from nfresume.tasks import inputs  # few files read their classes from JSON

        names = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        known = {name: value for name, value in dict(kvs).items() if name in names}
        return inputs.convert(known, cls, cls.__name__, Path.cwd())

    @classmethod
    def from_json(cls, s: str | bytes, **options: Any) -> Any:
        """An instance from JSON. Raises ValueError."""
        return cls.from_dict(json.loads(s, **options))


_METHODS = ("to_dict", "to_json", "from_dict", "from_json")


def dataclass_json(cls: Any = None, *, letter_case: Any = None, undefined: Any = None) -> Any:
    """A decorator that gives a dataclass these methods: `@dataclass_json` or `@dataclass_json()`."""
    if letter_case is not None or undefined is not None:
        config()

    def decorate(kind: Any) -> Any:
        for name in _METHODS:
            setattr(kind, name, vars(DataClassJsonMixin)[name])
        return kind

    return decorate if cls is None else decorate(cls)


def config(**_options: object) -> NoReturn:
    """Refuse rules for fields: they would change what is written."""
    raise ModuleNotFoundError("dataclasses_json is not installed here: its rules for names of fields need it",
                              name="dataclasses_json")


class _Cases(Enum):
    CAMEL, KEBAB, SNAKE, PASCAL = range(4)


class _Undefined(Enum):
    INCLUDE, RAISE, EXCLUDE = range(3)


_JSON: dict[str, Any] = {
    "dataclass_json": dataclass_json, "DataClassJsonMixin": DataClassJsonMixin, "config": config,
    "LetterCase": _Cases, "Undefined": _Undefined}
_MIXIN: dict[str, Any] = {"DataClassJSONMixin": type("DataClassJSONMixin", (DataClassJsonMixin,), {
    "__module__": "mashumaro.mixins.json", "__slots__": ()})}


def _of(module: str, names: dict[str, Any]) -> Callable[[str], Any]:
    def find(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"{module} is not installed here, and nfresume's stand-in has no {name!r}")
        return names[name]

    return find


#: How the names of each module are made.
MODULES: dict[str, Callable[[str], Any]] = {
    "dataclasses_json": _of("dataclasses_json", _JSON),
    "mashumaro": _of("mashumaro", {**_MIXIN, "DataClassDictMixin": DataClassJsonMixin}),
    "mashumaro.mixins": _of("mashumaro.mixins", {}), "mashumaro.mixins.json": _of("mashumaro", _MIXIN),
}
