"""What a task's function uses of the workflow's own files: helper functions, classes, constants, and theirs.

It is found in the source text, by the names that the function and its helpers mention, and by the classes in
its signature. Nothing is called and no value is looked at, so the answer is the same in every process. What
is found in other ways, such as by `getattr`, is not seen. Installed packages belong to the environment.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import dis
import functools
import hashlib
import importlib.util
import inspect
import linecache
import sys
import types
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

from nfresume.tasks import shapes, source

_INSTALLED = ("/site-packages/", "/dist-packages/")
_GLOBALS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_ATTRIBUTES = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
_Import = ast.Import | ast.ImportFrom
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
#: A name in a module, and the attributes that are asked of what it may mean.
_Name = tuple[str, str, frozenset[str]]


def used_by(function: Callable[..., Any]) -> dict[str, str]:
    """The digests of the definitions in the workflow's own modules that a function uses, by `module.name`.

    Functions that it encloses or wraps, as decorators make them, count as parts of it.
    """
    _text.cache_clear()  # the files may have changed
    found: dict[str, str] = {}
    parts = _parts(function)
    own = {(part.__module__, part.__name__) for part in parts}
    waiting = [each for part in parts
               for each in _mentioned(part.__code__, _tree(part), _module(part))]
    waiting += _classes(function)
    seen: set[_Name] = set()
    while waiting:
        module, name, attributes = each = waiting.pop()
        if each in seen or (module, name) in own:
            continue
        seen.add(each)
        texts = []
        for statement in _definitions(module, name):
            if isinstance(statement, _Import):
                waiting += _followed(statement, module, name, attributes)
                continue
            if f"{module}.{name}" in found:
                continue
            code = compile(ast.Module([statement], []), "<helper>", "exec", dont_inherit=True)
            passed = frozenset() if isinstance(statement, _Definition) else attributes
            waiting += _mentioned(code, statement, module, passed)
            texts.append(source.code_text(statement))
        if texts:
            found[f"{module}.{name}"] = hashlib.sha256("".join(texts).encode()).hexdigest()[:16]
    return found


def _parts(function: Callable[..., Any]) -> list[types.FunctionType]:
    """A function, the functions that it wraps and encloses, and theirs."""
    found: list[types.FunctionType] = []
    waiting: list[Any] = [function]
    seen: set[int] = set()
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        waiting.append(inspect.getattr_static(part, "__wrapped__", None))
        if isinstance(part, types.FunctionType):
            found.append(part)
            for cell in part.__closure__ or ():
                with contextlib.suppress(ValueError):  # nothing was ever assigned
                    waiting.append(cell.cell_contents)
    return found


def _classes(function: Callable[..., Any]) -> Iterator[_Name]:
    """The workflow's own classes in a signature, and in their fields: an input has their methods."""
    for name in shapes.shapes_in(source.hints_of(function).values()):
        module, _, inside = name.partition(":")
        yield module, inside.partition(".")[0], frozenset()


def _module(function: types.FunctionType) -> str:
    """The module whose globals a function uses; that of Python's own for one that was made from a text."""
    return str(function.__globals__.get("__name__", "builtins"))


def _tree(function: types.FunctionType) -> ast.AST:
    """The syntax tree of a function; an empty one when its source cannot be read."""
    try:
        return source.parsed(function.__code__)
    except (OSError, TypeError, SyntaxError):
        return ast.Module([], [])


def _mentioned(
    code: types.CodeType, tree: ast.AST, module: str, passed: frozenset[str] = frozenset()
) -> Iterator[_Name]:
    """The globals that code names, and what it imports itself. `passed`: attributes that others ask of it."""
    names, attributes = set[str](), set(passed)
    _read(code, names, attributes)
    yield from ((module, name, frozenset(attributes)) for name in names)
    for node in ast.walk(tree):
        if isinstance(node, _Import):
            yield from _followed(node, module, None, frozenset(attributes))


def _followed(
    statement: _Import, module: str, name: str | None, attributes: frozenset[str]
) -> Iterator[_Name]:
    """What an import leads to that binds a name; any name if it is None."""
    for bound, target, member in _targets(statement, module):
        if member == "*" and name is not None:
            yield target, name, attributes
        elif name in (bound, None):
            yield from ((target, each, attributes) for each in ([member] if member else attributes))


def _read(code: types.CodeType, names: set[str], attributes: set[str]) -> None:
    for instruction in dis.get_instructions(code):
        if instruction.opname in _GLOBALS:
            names.add(instruction.argval)
        elif instruction.opname in _ATTRIBUTES:
            attributes.add(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            _read(constant, names, attributes)


def _targets(statement: ast.AST, module: str) -> Iterator[tuple[str, str, str]]:
    """What an import binds: the name, the own module, and the name in it; empty for the module itself."""
    if isinstance(statement, ast.Import):
        for alias in statement.names:
            if _text(alias.name):
                yield alias.asname or alias.name.partition(".")[0], alias.name, ""
    elif isinstance(statement, ast.ImportFrom):
        origin = statement.module or ""
        if statement.level:
            loaded: Any = sys.modules.get(module)
            package = getattr(loaded, "__package__", None) or module.rpartition(".")[0]
            origin = importlib.util.resolve_name("." * statement.level + origin, package)
        for alias in statement.names:
            below = f"{origin}.{alias.name}"
            if alias.name != "*" and _text(below):
                yield alias.asname or alias.name, below, ""
            elif _text(origin):
                yield alias.asname or alias.name, origin, alias.name


def _definitions(module: str, name: str) -> list[ast.stmt]:
    """The statements of an own module that bind a name or change its value; else its imports of all names."""
    text = _text(module)
    bound = _bound(text) if text else {}
    return bound.get(name) or bound.get("*") or bound.get("__getattr__") or []


@functools.cache
def _text(module: str) -> str:
    """The source text of a module of the workflow; empty for any other."""
    if module.partition(".")[0] in (*sys.stdlib_module_names, "nfresume", "nfresume_metadata", "latch"):
        return ""
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None and module not in sys.modules:
        file = getattr(_spec(module), "origin", None)
    if not file or not file.endswith(".py") or any(each in file for each in _INSTALLED):
        return ""
    return "".join(linecache.getlines(file))


def _spec(module: str) -> ModuleSpec | None:
    """Where a module is that was not imported yet. Nothing is imported."""
    above, _, _ = module.rpartition(".")
    if not above:
        return PathFinder.find_spec(module)
    folders = getattr(sys.modules.get(above) or _spec(above), "submodule_search_locations", None)
    folders = getattr(sys.modules.get(above), "__path__", folders)
    return PathFinder.find_spec(module, folders) if folders else None


@functools.lru_cache(maxsize=64)
def _bound(text: str) -> Mapping[str, list[ast.stmt]]:
    """The statements of a module by the names that they bind or change, and the heads of those around."""
    found: defaultdict[str, list[ast.stmt]] = defaultdict(list)
    registered: list[tuple[str, ast.stmt]] = []
    try:
        _sort_out(ast.parse(text).body, [], found, registered)
    except SyntaxError:
        return {}
    for name, statement in registered:
        if not any(isinstance(each, _Import) for each in found[name]):
            found[name].append(statement)
    return found


def _sort_out(
    body: list[ast.stmt], heads: list[ast.stmt], found: defaultdict[str, list[ast.stmt]],
    registered: list[tuple[str, ast.stmt]],
) -> None:
    """Add the statements of a body. `registered`: what a decorator such as `@table.register` is a call of."""
    for statement in body:
        head = _head(statement)
        if isinstance(statement, _Definition):
            names: Iterable[str] = (statement.name, *_declared_global(statement))
            for each in statement.decorator_list:
                called = each.func if isinstance(each, ast.Call) else each
                registered += [(name, statement) for name in _owner(called)]
        elif isinstance(statement, _Import):
            names = [each.asname or each.name.partition(".")[0] for each in statement.names]
        else:
            names = _changed(head)
        for name in dict.fromkeys(names):
            found[name] += [*heads, head]
        if head is not statement:
            for inner in _bodies(statement):
                _sort_out(inner, [*heads, head], found, registered)


def _head(statement: ast.stmt) -> ast.stmt:
    """A condition, loop or the like with empty bodies; any other statement as it is."""
    if isinstance(statement, _Definition) or not _bodies(statement):
        return statement
    head: ast.stmt = ast.fix_missing_locations(_emptied(statement))
    return head


def _emptied(node: Any) -> Any:
    """A copy of a node that has its expressions, and `pass` instead of its statements."""
    made = copy.copy(node)
    for name, value in ast.iter_fields(node):
        if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
            setattr(made, name, [ast.Pass()])
        elif isinstance(value, list) and value and isinstance(value[0], ast.ExceptHandler | ast.match_case):
            setattr(made, name, [_emptied(each) for each in value])
    return made


def _bodies(node: ast.AST) -> list[list[ast.stmt]]:
    """The statements in a statement, its handlers and its cases, body by body."""
    found: list[list[ast.stmt]] = []
    for _, value in ast.iter_fields(node):
        if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
            found.append(value)
        elif isinstance(value, list) and value and isinstance(value[0], ast.ExceptHandler | ast.match_case):
            found += [body for each in value for body in _bodies(each)]
    return found


def _declared_global(statement: ast.stmt) -> set[str]:
    """The globals that a definition says it binds."""
    return {name for node in ast.walk(statement) if isinstance(node, ast.Global) for name in node.names}


def _changed(statement: ast.stmt) -> Iterator[str]:
    """The names that a statement binds, or whose value it changes: an item, by a method, as an argument."""
    for node in ast.walk(statement):
        if isinstance(node, ast.ExceptHandler) and node.name:
            yield node.name
        elif isinstance(node, ast.Call):
            yield from _owner(node.func)
        elif isinstance(getattr(node, "ctx", None), ast.Store | ast.Del):
            assert isinstance(node, ast.expr)
            yield from [node.id] if isinstance(node, ast.Name) else _owner(node)
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):  # called for what it does
        given = [*statement.value.args, *(each.value for each in statement.value.keywords)]
        yield from (each.id for each in given if isinstance(each, ast.Name))


def _owner(node: ast.expr) -> Iterator[str]:
    """The name before attributes and items, as in `name.a["b"]`; none for a plain name."""
    inside = node
    while isinstance(inside, ast.Attribute | ast.Subscript):
        inside = inside.value
    if isinstance(inside, ast.Name) and inside is not node:
        yield inside.id
