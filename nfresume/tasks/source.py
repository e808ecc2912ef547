"""The digest of a function's code, and its signature as text, for the key of a cached task.

Uses the standard library only. The digest is the same on every supported Python: the fields that a newer
Python adds to its syntax tree are empty for older code, and empty fields are left out.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any

#: Fields of the syntax tree that do not change what the code does.
_SKIPPED = frozenset({"kind", "type_comment", "type_ignores", "ctx"})
#: Methods of promises that no other value has.
_OF_PROMISES = frozenset({"is_true", "is_false", "is_none", "is_"})


def parsed(definition: Any) -> ast.Module:
    """The syntax tree of a function, code object or class. Raises OSError, TypeError or SyntaxError.

    Indented source is not dedented, for that would change the texts in it.
    """
    text = inspect.getsource(definition)
    return ast.parse(f"if True:\n{text}" if text[:1].isspace() else text)


def code_digest(function: Callable[..., Any] | types.CodeType) -> str:
    """The digest of the body of a function, or of that of a code object.

    It ignores comments, white space and docstrings. If the function has `__wrapped__`, that one is meant. The
    rest is in other parts of the key: name, types in the signature, defaults as inputs. Options of decorators
    do not change a result. Raises ValueError when the source cannot be read, and for a lambda.
    """
    try:
        tree = parsed(function)
    except (OSError, TypeError, SyntaxError) as e:
        raise ValueError(f"the source of {_name(function)} cannot be read ({e}): "
                         "give it a cache_version") from None
    found = next((n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)), None)
    if found is None or _name(function).endswith("<lambda>"):
        raise ValueError(f"{_name(function)} is not a `def`: give it a cache_version")
    text = code_text([type(found).__name__, _without_docstring(found.body)])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def asked_as_promises(function: Callable[..., Any]) -> set[str]:
    """The parameters of a workflow on which its code calls `is_true` and the like, as only promises have."""
    try:
        tree = parsed(function)
    except (OSError, TypeError, SyntaxError):
        return set()
    return {node.value.id for node in ast.walk(tree) if isinstance(node, ast.Attribute)
            and node.attr in _OF_PROMISES and isinstance(node.value, ast.Name)}


def _name(function: Any) -> str:
    if isinstance(function, types.CodeType):
        return function.co_name
    return str(getattr(function, "__qualname__", type(function).__name__))


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0] if body else None
    is_text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(
        first.value.value, str)
    return body[1:] if is_text else body


def code_text(node: object) -> str:
    """A syntax tree as text: types of nodes, and fields by name, without empty ones and docstrings."""
    if isinstance(node, ast.AST):
        found = []
        for name in sorted(node._fields):
            value = getattr(node, name, None)
            if name == "body" and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                value = _without_docstring(value or [])
            if isinstance(node, ast.JoinedStr):
                value = _joined(node.values)
            constant = isinstance(node, ast.Constant) and name == "value"
            if not constant and (name in _SKIPPED or value is None or value == []):
                continue
            found.append(f"{name}={code_text(value)}")
        return f"{type(node).__name__}({','.join(found)})"
    if isinstance(node, list):
        return f"[{','.join(code_text(item) for item in node)}]"
    return f"{type(node).__name__}:{node!r}"


def _joined(parts: list[ast.expr]) -> list[object]:
    """The parts of an f-string, with adjacent texts joined. Python 3.12 splits them differently than 3.11."""
    found: list[object] = []
    for part in parts:
        text = part.value if isinstance(part, ast.Constant) else None
        if not isinstance(text, str):
            found.append(part)
        elif found and isinstance(found[-1], str):
            found[-1] += text
        elif text:
            found.append(text)
    return found


def signature_text(function: Callable[..., Any]) -> str:
    """The signature as `(reads: LatchFile, n: int) -> LatchDir`. Defaults are left out: they are inputs."""
    hints = hints_of(function)
    parameters = inspect.signature(function).parameters
    inputs = ", ".join(f"{name}: {type_text(hints.get(name, Any))}" for name in parameters)
    return f"({inputs}) -> {type_text(hints.get('return', Any))}"


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Types by parameter name; `return` for the result's. If they cannot be resolved, they stay texts."""
    try:
        found = typing.get_type_hints(function, include_extras=True)
        return {name: resolved(kind) for name, kind in found.items()}
    except Exception:  # for example a name that is imported for type checkers only
        return dict(getattr(function, "__annotations__", {}))


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


def type_text(kind: Any) -> str:
    """A type as text, the same on every Python and without module names.

    `Optional[int]`, `Union[int, None]` and `int | None` give the same text. `List[int]` is `list[int]`.
    """
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return type_text(parts[0])
    if kind is None or kind is type(None):
        return "None"
    if _is_union(origin):
        return " | ".join(sorted(type_text(part) for part in parts))
    if origin is typing.Literal:
        return f"Literal[{', '.join(map(repr, parts))}]"
    if origin is not None:
        inner = ", ".join("..." if part is Ellipsis else type_text(part) for part in parts)
        return f"{origin.__name__}[{inner}]"
    if isinstance(kind, list):
        return f"[{', '.join(map(type_text, kind))}]"
    bare = {typing.List: "list", typing.Dict: "dict", typing.Tuple: "tuple", typing.Set: "set"}  # noqa: UP006
    if kind in bare:
        return bare[kind]
    return getattr(kind, "__qualname__", None) or getattr(kind, "_name", None) or str(kind)


def _is_union(origin: Any) -> bool:
    return origin is typing.Union or origin is types.UnionType
