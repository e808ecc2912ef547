"""What a task's function encloses: the part of a task's identity that its code does not show.

A decorator without functools.wraps, a factory and a lambda make functions that share a name, and often their
code, but enclose other values. Those values are part of the key of a call. A function whose enclosed values
cannot be compared has no key: its results are never reused.
"""

from __future__ import annotations

import functools
import json
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nfresume.tasks import digests, shapes, source


class NoKey(ValueError):
    """Calls of this function cannot be told apart. The message says why."""


def digest_of(function: Callable[..., Any], *, pinned: bool) -> str:
    """The digest of what a function encloses; empty for a plain function. Raises NoKey.

    `pinned`: the task has a version, so the code of the functions that it encloses does not count.
    """
    if isinstance(function, functools.partial):
        raise NoKey("a functools.partial cannot be compared: write a `def`")
    if not isinstance(function, types.FunctionType):
        raise NoKey(f"a {type(function).__name__} cannot be compared: write a `def`")
    if not function.__closure__:
        return ""
    own = "" if pinned or not hasattr(function, "__wrapped__") else _code(function)
    return digests.of_text(json.dumps([own, _enclosed(function, pinned, ())]))


def _enclosed(function: types.FunctionType, pinned: bool, above: tuple[int, ...]) -> list[Any]:
    found = []
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            value = cell.cell_contents
        except ValueError:  # nothing was ever assigned
            value = None
        found.append([name, _canonical(value, name, pinned, (*above, id(function)))])
    return found


def _canonical(value: Any, name: str, pinned: bool, above: tuple[int, ...]) -> Any:
    """An enclosed value as JSON that is equal for equal values."""
    is_task = type(value).__module__ == "nfresume.tasks.declaring"
    function = getattr(value, "function", value) if is_task else value
    if isinstance(function, types.FunctionType):
        if id(function) in above:
            return ["itself"]
        named = "<" not in function.__qualname__.replace("<locals>", "")
        return ["function", function.__module__, function.__qualname__,
                "" if pinned and named else _code(function),
                [_canonical(item, name, pinned, above) for item in function.__defaults__ or ()],
                [[key, _canonical(item, name, pinned, above)]
                 for key, item in (function.__kwdefaults__ or {}).items()],
                _enclosed(function, pinned, above)]
    if isinstance(value, types.ModuleType | types.BuiltinFunctionType):
        return [type(value).__name__, value.__name__]
    if isinstance(value, type):
        return ["class", shapes.class_name(value), shapes.shape(value)]
    if isinstance(value, list | tuple):
        return [type(value).__name__, [_canonical(item, name, pinned, above) for item in value]]
    try:
        return digests.canonical(value, _no_path)
    except TypeError as e:
        raise NoKey(f"{name}, which it encloses, cannot be compared: {e}") from None


def _no_path(path: Path) -> str:
    raise TypeError(f"{path} is a file: pass it as an input")


def _code(function: types.FunctionType) -> str:
    """The digest of a function's own code; of its bytecode if it has no source or is a lambda."""
    try:
        return source.code_digest(function.__code__)
    except ValueError:
        return digests.of_text(json.dumps(_bytecode(function.__code__)))


def _bytecode(code: types.CodeType) -> list[Any]:
    """A code object as JSON, without file names and line numbers. Another Python may give another one."""
    constants = [_bytecode(c) if isinstance(c, types.CodeType) else repr(c) for c in code.co_consts]
    return [code.co_code.hex(), constants, code.co_names, code.co_varnames, code.co_freevars,
            code.co_flags, code.co_argcount, code.co_kwonlyargcount]
