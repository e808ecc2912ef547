"""What a Python file declares, read from its text. Nothing in the file runs.

A form may show what a workflow takes; only a launch may import the file.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from nfresume.system import regular

#: A larger file is not read.
MAX_BYTES = 1_000_000
_TYPES = {"bool": "boolean", "int": "integer", "float": "number", "list": "array", "List": "array",
          "dict": "object", "Dict": "object"}
#: Types that name files or folders.
_PATHS = {"LatchFile": "file", "LatchDir": "folder", "LatchOutputDir": "folder", "FlyteFile": "file",
          "FlyteDirectory": "folder", "LPath": "any", "Path": "any"}


def of_workflow(file: Path, function: str) -> list[dict[str, Any]]:
    """The inputs of a workflow, as rows with the keys of `parameters.Parameter`. Empty if there is none."""
    tree = _tree(file)
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function]
    if not found:
        return []
    described = dict(_declared([tree]))
    choices = _enums([tree])
    arguments = found[0].args
    defaults: list[ast.expr | None] = [None] * (len(arguments.args) - len(arguments.defaults))
    pairs = [*zip(arguments.args, [*defaults, *arguments.defaults], strict=True),
             *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    return [_row(argument.arg, argument.annotation, default, described.get(argument.arg, {}), choices,
                 required=default is None) for argument, default in pairs]


def of_metadata(file: Path) -> list[dict[str, Any]]:
    """The parameters that a `latch_metadata` package declares, as rows; `file` is its `__init__.py`."""
    trees = [_tree(module) for module in sorted(file.parent.glob("*.py"))[:50]]
    choices, classes = _enums(trees), _dataclasses(trees)
    found = []
    for name, given in _declared(trees):
        if fields := classes.get(_name(given.get("type"))):  # Latch passes each field as --name.field
            found += [_row(f"{name}.{field}", kind, None, {}, choices, required=False)
                      for field, kind in fields.items()]
        elif _literal(given.get("hidden")) is not True:
            found.append(_row(name, given.get("type"), given.get("default"), given, choices, required=False))
    return found


def _tree(file: Path) -> ast.Module:
    """The syntax tree of a file. Raises OSError, or ValueError for what is no Python."""
    text = regular.content(file, MAX_BYTES)
    try:
        return ast.parse(text)
    except (SyntaxError, RecursionError, MemoryError) as e:
        raise ValueError(f"{file.name}: {e}") from None


def _declared(trees: Iterable[ast.Module]) -> Iterator[tuple[str, dict[str, ast.expr]]]:
    """The arguments of each LatchParameter(...) or NextflowParameter(...) in a dict, by its key."""
    for tree in trees:
        for node in ast.walk(tree):
            if not isinstance(node, ast.Dict):
                continue
            for key, value in zip(node.keys, node.values, strict=True):
                named = isinstance(key, ast.Constant) and isinstance(key.value, str)
                if named and isinstance(value, ast.Call) and _name(value.func).endswith("Parameter"):
                    assert isinstance(key, ast.Constant)
                    yield str(key.value), {w.arg: w.value for w in value.keywords if w.arg}


def _enums(trees: Iterable[ast.Module]) -> dict[str, dict[str, Any]]:
    """The members of each Enum class: by class, the value by name."""
    found: dict[str, dict[str, Any]] = {}
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and any(_name(base).endswith("Enum") for base in node.bases):
                found[node.name] = {
                    _name(line.targets[0]): _literal(line.value)
                    for line in node.body if isinstance(line, ast.Assign)}
    return found


def _dataclasses(trees: Iterable[ast.Module]) -> dict[str, dict[str, ast.expr]]:
    """The fields of each dataclass: by class, the annotation by name."""
    return {node.name: {_name(line.target): line.annotation
                        for line in node.body if isinstance(line, ast.AnnAssign)}
            for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
            and any(_name(d.func if isinstance(d, ast.Call) else d) == "dataclass"
                    for d in node.decorator_list)}


def _row(
    name: str, kind: ast.expr | None, default: ast.expr | None, given: Mapping[str, ast.expr],
    enums: Mapping[str, Mapping[str, Any]], *, required: bool,
) -> dict[str, Any]:
    called = _name(kind.value if isinstance(kind, ast.Subscript) else kind)
    members = enums.get(called, {})
    value = _literal(default)
    if isinstance(default, ast.Attribute):
        value = enums.get(_name(default.value), {}).get(default.attr)
    elif isinstance(default, ast.Call) and default.args:  # LatchFile("latch:///reads.fastq")
        value = _literal(default.args[0])
    text = _literal(given.get("description")) or _literal(given.get("display_name")) or ""
    return {"name": name, "type": _TYPES.get(called, "string"), "help": str(text),
            "section": str(_literal(given.get("section_title")) or ""),
            "choices": [str(member) for member in members.values()], "required": required,
            "default": value if isinstance(value, bool | int | float | str) else None, "path": _path(kind)}


def _path(kind: ast.expr | None) -> str:
    """What an annotation names: a file, a folder, any of both, or no path; also inside of a list."""
    names = [_name(node) for node in ast.walk(kind) if isinstance(node, ast.expr)] if kind else []
    return next((_PATHS[name] for name in names if name in _PATHS), "")


def _name(node: ast.expr | None) -> str:
    """The last part of a dotted name; empty for anything else."""
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return node.id if isinstance(node, ast.Name) else ""


def _literal(node: ast.expr | None) -> Any:
    return node.value if isinstance(node, ast.Constant) else None
