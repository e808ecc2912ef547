"""Names of flytekit and its plugins that nfresume does not provide. A file that imports them loads.

While a file is loaded they may be called, subclassed and used as types and decorators, as for
`task_config=Spark(...)`. In a running workflow or task a call says in one line what is not provided.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, NoReturn

from nfresume.tasks import promises

#: The packages whose names all load.
FAMILIES = ("flytekit", "flytekitplugins")


class NotProvided(RuntimeError):
    """Something of flytekit was called that nfresume does not provide."""


def _refuse(name: str) -> NoReturn:
    raise NotProvided(f"{name} is not provided by nfresume")


class _Kind(type):
    """The type of such names. Each is a class, and so are its attributes."""

    @property
    def full_name(cls) -> str:
        """The name in flytekit, also of a subclass of the workflow's own."""
        return next(f"{base.__module__}.{base.__qualname__}" for base in cls.__mro__
                    if base.__dict__.get("_foreign"))

    def __call__(cls, *values: Any, **fields: Any) -> Any:
        if promises.executing():
            _refuse(cls.full_name)
        if len(values) == 1 and inspect.isfunction(values[0]):
            return _decorated(values[0], cls.full_name)
        return super().__call__(*values, **fields)

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return kind(cls.__module__, f"{cls.__qualname__}.{name}")


class Foreign(metaclass=_Kind):
    """An object that only keeps what it was given."""

    _foreign = True

    def __init__(self, *values: Any, **fields: Any) -> None:
        self.given = values
        self.__dict__.update(fields)

    def __class_getitem__(cls, _parameters: Any) -> Any:
        return cls

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.any_schema()

    def __call__(self, *values: Any, **_fields: Any) -> Any:
        """Decorate a function, which then refuses; any other call is refused itself."""
        if not promises.executing() and len(values) == 1 and inspect.isfunction(values[0]):
            return _decorated(values[0], type(self).full_name)
        _refuse(type(self).full_name)


def _decorated(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    @functools.wraps(function)
    def refusing(*_: Any, **__: Any) -> NoReturn:
        _refuse(name)

    return refusing


@functools.cache
def kind(module: str, name: str) -> Any:
    """The class that stands for a name of a module."""
    fields = {"__module__": module, "__qualname__": name, "_foreign": True}
    return _Kind(name.rpartition(".")[2], (Foreign,), fields)
