"""The parameters that a pipeline declares: schema, `latch_metadata`, or a `params {}` block."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nfresume.domain.errors import InvalidMetadata
from nfresume.pipelines import metadata, params_block
from nfresume.pipelines.params_block import Parameter
from nfresume.tasks import checking

__all__ = ["SCHEMA", "Parameter", "declared", "of_workflow", "typed"]

SCHEMA = "nextflow_schema.json"


def declared(pipeline: Path) -> list[Parameter]:
    """The parameters that a local pipeline declares, in its order. Empty when it declares none.

    Raises InvalidMetadata for a schema or a `latch_metadata` that cannot be read.
    """
    folder = pipeline if pipeline.is_dir() else pipeline.parent
    schema = folder / SCHEMA
    if schema.is_file():
        try:
            return list(_of_schema(json.loads(schema.read_bytes())))
        except (ValueError, AttributeError, TypeError) as e:
            raise InvalidMetadata(f"{schema}: {e}", "fix the file") from None
    file = metadata.find(pipeline, None)
    rows = _rows(metadata.load(file).parameters) if file else []
    return rows or list(params_block.declared(pipeline / "main.nf" if pipeline.is_dir() else pipeline))


def of_workflow(pipeline: str) -> list[Parameter]:
    """The inputs of the Python workflow `/path/file.py:workflow`. Raises InvalidMetadata."""
    return _rows(checking.check(pipeline, Path("/")).parameters)


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
            kind = entry.get("type", "string")
            yield Parameter(
                name, kind if isinstance(kind, str) else kind[0], entry.get("default"),
                entry.get("description", ""), tuple(map(str, entry.get("enum", ()))), name in required,
                "" if group is schema else group.get("title", ""),
            )


def typed(value: str, kind: str) -> object:
    """A text from a form as a value of the JSON Schema type `kind`. A text that does not fit stays a text."""
    if kind == "boolean":
        return value.lower() in ("true", "on", "yes", "1")
    try:
        if kind == "integer":
            return int(value)
        if kind == "number":
            return float(value)
        if kind in ("array", "object"):
            return json.loads(value)
    except ValueError:
        pass
    return value
