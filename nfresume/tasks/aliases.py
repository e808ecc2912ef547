"""Types without aliases: what `type Reads = LatchFile` means, wherever it stands in an annotation."""

from __future__ import annotations

import contextlib
import types
import typing
from typing import Any


def resolved(kind: Any, inside: tuple[Any, ...] = ()) -> Any:
    """A type with the aliases in it replaced by what they mean. An alias within itself is Any."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    alias = kind if _is_alias(kind) else origin
    if _is_alias(alias):
        return Any if alias in inside else resolved(_meaning(alias, parts), (*inside, alias))
    if not parts or origin is typing.Literal:
        return kind
    if origin is typing.Annotated:
        meant = resolved(parts[0], inside)
        return kind if meant is parts[0] else typing.Annotated[meant, *kind.__metadata__]
    made = tuple(resolved(part, inside) for part in parts)
    if all(new is old for new, old in zip(made, parts, strict=True)):
        return kind
    if origin in (typing.Union, types.UnionType):
        return typing.Union[made]  # noqa: UP007 - of any number
    with contextlib.suppress(TypeError):
        return origin[made]
    return kind


def _is_alias(kind: Any) -> bool:
    """True for what `type X = ...` makes, and for its stand-in in typing_extensions."""
    return type(kind).__name__ == "TypeAliasType"


def _meaning(alias: Any, parts: tuple[Any, ...]) -> Any:
    """What an alias means with these parameters."""
    value, known = alias.__value__, dict(zip(alias.__type_params__, parts, strict=False))
    open_ones = getattr(value, "__parameters__", ())
    if known and open_ones:
        return value[tuple(known.get(each, each) for each in open_ones)]
    return known.get(value, value) if isinstance(value, typing.TypeVar) else value
