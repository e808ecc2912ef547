"""The parameters in a script's `params {}` block, which Nextflow has from 25.10 on.

A line declares one: `name: Type = default`; type and default may be missing. A comment above it describes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nfresume.system import regular

_BLOCK = re.compile(r"^[ \t]*params[ \t]*\{", re.MULTILINE)
_LINE = re.compile(r"(?P<name>[A-Za-z_]\w*)\s*(?::\s*(?P<type>[\w.]+(?:<.*>)?)(?P<optional>\?)?)?"
                   r"\s*(?:=\s*(?P<default>.+?))?;?")
_TYPES = {"Boolean": "boolean", "Integer": "integer", "Float": "number", "List": "array", "Set": "array",
          "Bag": "array", "Map": "object", "Record": "object"}
#: At most so much of a script is read, in bytes.
_MAX_BYTES = 1_000_000


@dataclass(frozen=True)
class Parameter:
    """One parameter. `type` is a JSON Schema type: string, integer, number, boolean, array or object.

    Several are separated by " or ". `path`: it names a "file", a "folder", or "any" of both.
    """

    name: str
    type: str = "string"
    default: object = None
    help: str = ""
    choices: tuple[str, ...] = ()
    required: bool = False
    section: str = ""
    path: str = ""


def declared(script: Path) -> Iterator[Parameter]:
    """The parameters in the `params {}` block of a script, in its order; none when there is no such block."""
    try:
        with open(script, errors="replace", opener=regular.opener) as file:
            text = file.read(_MAX_BYTES)
    except (FileNotFoundError, IsADirectoryError):
        return
    if not (begin := _BLOCK.search(text)):
        return
    comment: list[str] = []
    for line in _inside(text[begin.end():]):
        stripped = line.strip()
        if stripped.startswith(("//", "/*", "*")):
            comment.append(stripped.strip("/* \t"))
            continue
        if found := _LINE.fullmatch(_without_comment(stripped)):
            yield _parameter(found, " ".join(part for part in comment if part))
        comment = []


def _inside(text: str) -> list[str]:
    """The lines up to the brace that closes the block."""
    lines: list[str] = []
    depth = 1
    for line in text.splitlines():
        code = re.sub(r"'[^']*'|\"[^\"]*\"", "", _without_comment(line))
        depth += code.count("{") - code.count("}")
        if depth <= 0:
            break
        lines.append(line)
    return lines


def _without_comment(line: str) -> str:
    """The code of a line: `//` begins a comment unless it is part of a URL in quotes."""
    return re.sub(r"\s*//.*$", "", line) if not re.search(r"['\"].*//.*['\"]", line) else line


def _parameter(found: re.Match[str], text: str) -> Parameter:
    kind = (found["type"] or "").partition("<")[0]
    default = _value(found["default"]) if found["default"] is not None else None
    guessed = {bool: "boolean", int: "integer", float: "number"}.get(type(default), "string")
    known = _TYPES.get(kind, "string") if kind else guessed
    required = found["default"] is None and not found["optional"] and kind != "Boolean"
    path = "any" if re.search(r"\bPath\b", found["type"] or "") else ""
    return Parameter(found["name"], known, default, text, required=required, path=path)


def _value(text: str) -> object:
    """A literal as a value; an expression is shown as it is written, except for null."""
    if text in ("true", "false"):
        return text == "true"
    if text == "null":
        return None
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None
