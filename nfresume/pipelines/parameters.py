"""The parameters that a pipeline declares: schema, `latch_metadata`, a `params {}` block, or in Python.

Everything is read as data. No file of the pipeline is imported: forms are shown to people who may not launch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from nfresume.domain.errors import InvalidMetadata
from nfresume.pipelines import metadata, params_block, reading
from nfresume.pipelines.params_block import Parameter
from nfresume.system import regular

__all__ = ["SCHEMA", "Parameter", "declared", "kind_of", "of_word", "of_workflow", "problem", "typed"]

SCHEMA = "nextflow_schema.json"
_BOOLEANS = {"true": True, "on": True, "yes": True, "1": True,
             "false": False, "off": False, "no": False, "0": False}
_NUMBER = re.compile(r"-?\d+(\.\d+)?", re.ASCII)
_WHOLE = re.compile(r"\s*[+-]?\d+\s*")
_DECIMAL = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
_EXPECTED = {"integer": "a whole number", "number": "a number", "array": "a JSON array",
             "object": "a JSON object", "boolean": "true or false"}
#: A larger schema is not read.
MAX_SCHEMA = 5_000_000
#: What a format of nf-core's schemas names.
_PATHS = {"file-path": "file", "directory-path": "folder", "path": "any", "file-path-pattern": "any"}


def declared(pipeline: Path) -> list[Parameter]:
    """The parameters that a local pipeline declares, in its order. Empty when it declares none.

    Raises InvalidMetadata for a schema or a `latch_metadata` that cannot be read.
    """
    folder = pipeline if pipeline.is_dir() else pipeline.parent
    schema = folder / SCHEMA
    try:
        if schema.is_file():
            if schema.stat().st_size > MAX_SCHEMA:
                raise ValueError(f"larger than {MAX_SCHEMA:,} bytes")
            found = {p.name: p for p in _of_schema(regular.document(schema))}
            return list(found.values())  # of two fields of one name a form would send the second one
        file = metadata.find(pipeline, None)
        rows = _rows(reading.of_metadata(file)) if file else []
        return rows or list(params_block.declared(pipeline / "main.nf" if pipeline.is_dir() else pipeline))
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as e:
        what = schema if schema.is_file() else folder
        raise InvalidMetadata(f"{what}: {e}", "fix the file") from None


def of_workflow(file: Path, function: str) -> list[Parameter]:
    """The inputs of a Python workflow. Raises InvalidMetadata."""
    try:
        return _rows(reading.of_workflow(file, function))
    except (OSError, ValueError) as e:
        raise InvalidMetadata(f"{file}: {e}", "fix the file") from None


def _rows(found: list[dict[str, Any]]) -> list[Parameter]:
    return [Parameter(**{**row, "choices": tuple(row["choices"])}) for row in found]


def _of_schema(schema: Mapping[str, Any]) -> Iterator[Parameter]:
    """nf-core's schema: groups under `$defs` (or `definitions`), and properties at the top level."""
    groups = schema.get("$defs") or schema.get("definitions") or {}
    for group in (*groups.values(), schema):
        required = group.get("required", ())
        for name, entry in group.get("properties", {}).items():
            if entry.get("hidden"):
                continue
            choices = [each for each in entry.get("enum", ()) if each is not None]
            yield Parameter(
                name, " or ".join(_kinds(entry)) or "string", entry.get("default"),
                entry.get("description", ""), tuple(map(str, choices)),
                name in required and entry.get("default") in (None, ""),
                "" if group is schema else group.get("title", ""), path=_PATHS.get(_format(entry), ""),
            )


def _kinds(entry: Mapping[str, Any]) -> list[str]:
    """The types of the values that a property allows, but for null; empty for any."""
    named = entry.get("type")
    if named is None:
        values = [*entry.get("enum", ()), *([entry["const"]] if "const" in entry else [])]
        ways = [each for name in ("oneOf", "anyOf", "allOf") for each in entry.get(name, ())]
        named = [kind_of(each) for each in values] or [kind for each in ways for kind in _kinds(each)]
    kinds = dict.fromkeys([named] if isinstance(named, str) else named)
    return [each for each in kinds if each != "null" and not (each == "integer" and "number" in kinds)]


def _format(entry: Mapping[str, Any]) -> str:
    """The format of a property, or of the items of an array."""
    items = entry.get("items")
    return str(entry.get("format") or (items.get("format") if isinstance(items, Mapping) else "") or "")


def problem(parameter: Parameter, text: str) -> str:
    """Why a text from a form does not fit a parameter; empty when it fits, or may do so."""
    if not text:
        return f"{parameter.name} is required" if parameter.required else ""
    if parameter.choices and text not in parameter.choices:
        return f"{text!r} is none of {', '.join(parameter.choices)}"
    kinds = parameter.type.split(" or ")
    if not _EXPECTED.keys() >= {*kinds} or _fits(typed(text, parameter.type), kinds):
        return ""
    return f"{text!r} is not {' or '.join(_EXPECTED[kind] for kind in kinds)}"


def _fits(value: object, kinds: Collection[str]) -> bool:
    """True for a value of one of these types; a whole number is a number."""
    kind = kind_of(value)
    return kind in kinds or (kind == "integer" and "number" in kinds)


def typed(value: str, kind: str) -> object:
    """A text from a form as a value of the JSON Schema type `kind`. A text that does not fit stays a text.

    A whole number stays whole, as on the command line. Where there is a choice, as in `integer or string`,
    a text is what Nextflow takes it for there.
    """
    kinds = kind.split(" or ")
    word = of_word(value)
    if len(kinds) > 1 and not isinstance(word, str) and _fits(word, kinds):
        return word
    if kind == "boolean":
        return _BOOLEANS.get(value.lower(), value)
    try:
        if kind in ("integer", "number") and _WHOLE.fullmatch(value):
            return int(value)
        if kind == "number" and _DECIMAL.fullmatch(value):
            return float(value)
        if {"array", "object"} & {*kinds} and _fits(found := json.loads(value), kinds):
            return found
    except (ValueError, RecursionError):
        pass
    return value


def of_word(text: str) -> object:
    """A parameter of the command line as Nextflow takes it: numbers, true and false are no texts.

    >>> [of_word(text) for text in ("3", "2.5", "TRUE", "GRCh38", "1e3")]
    [3, 2.5, True, 'GRCh38', '1e3']
    """
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if _NUMBER.fullmatch(text):
        return float(text) if "." in text else int(text)
    return text


def kind_of(value: object) -> str:
    """The JSON Schema type of a value."""
    kinds = {bool: "boolean", int: "integer", float: "number", list: "array", dict: "object",
             type(None): "null"}
    return kinds.get(type(value), "string")
