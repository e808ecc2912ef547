"""The parameters of a pipeline for the launch form, from nf-core's schema or Latch's metadata."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nfresume.domain.errors import InvalidMetadata
from nfresume.pipelines.parameters import Parameter, declared, of_workflow, problem, typed

SCHEMA = {
    "$defs": {"io": {"title": "Input and output", "required": ["input", "aligner"], "properties": {
        "input": {"type": "string", "description": "a table"},
        "secret": {"type": "string", "hidden": True},
        "aligner": {"type": "string", "enum": ["star", "salmon"], "default": "star"},
    }}},
    "properties": {"depth": {"type": ["null", "integer"], "default": 3}, "seeds": {"enum": [None, 0, 1]}},
}
METADATA = """
from dataclasses import dataclass
from enum import Enum
from latch.types.metadata import LatchAuthor, NextflowMetadata, NextflowParameter

class Aligner(Enum):
    star = "star"
    salmon = "salmon"

@dataclass
class Args:
    input: str
    depth: int

NextflowMetadata(display_name="x", author=LatchAuthor(name="y"), parameters={
    "aligner": NextflowParameter(type=Aligner, default=Aligner.star, description="which"),
    "trim": NextflowParameter(type=bool, default=True, section_title="Trimming"),
    "hidden": NextflowParameter(type=str, hidden=True),
    "args": NextflowParameter(type=Args),
})
"""


def test_nf_core_schema(tmp_path: Path):
    """Parameters keep the order of the groups, with types, defaults and choices. Hidden ones are left out.

    A required one that has a default may be left empty. Choices without a type have that of their values.
    """
    (tmp_path / "main.nf").touch()
    (tmp_path / "nextflow_schema.json").write_text(json.dumps(SCHEMA))
    expected = [
        Parameter("input", "string", None, "a table", (), True, "Input and output"),
        Parameter("aligner", "string", "star", "", ("star", "salmon"), False, "Input and output"),
        Parameter("depth", "integer", 3), Parameter("seeds", "integer", None, "", ("0", "1")),
    ]
    assert declared(tmp_path) == declared(tmp_path / "main.nf") == expected
    (tmp_path / "nextflow_schema.json").write_text("[")
    with pytest.raises(InvalidMetadata, match=r"nextflow_schema\.json"):
        declared(tmp_path)


def test_latch_metadata(tmp_path: Path):
    """Enums become choices, dataclasses become --name.field, and hidden parameters are left out."""
    (tmp_path / "latch_metadata").mkdir()
    (tmp_path / "latch_metadata/__init__.py").write_text(METADATA)
    assert declared(tmp_path) == [
        Parameter("aligner", "string", "star", "which", ("star", "salmon")),
        Parameter("trim", "boolean", True, "", section="Trimming"),
        Parameter("args.input"), Parameter("args.depth", "integer"),
    ]
    assert declared(tmp_path / "latch_metadata") == []


@pytest.mark.parametrize(("text", "kind", "value"), [
    ("3", "integer", 3), ("0.5", "number", 0.5), ("true", "boolean", True), ("no", "boolean", False),
    ("[1]", "array", [1]), ("5", "array", "5"), ("x", "integer", "x"), ("007", "string", "007"),
    ("4", "number", 4), ("4.0", "number", 4.0), ("1e-6", "number", 1e-6), ("nan", "number", "nan"),
    ("0.1", "string or number", 0.1), ("auto", "string or number", "auto"),
    ("1_2", "integer or string", "1_2"), ("false", "integer or boolean", False),
    ("1", "boolean or integer", 1), ("yes", "boolean or string", "yes"), ('["a"]', "string or array", ["a"]),
    pytest.param("[" * 100_000, "array", "[" * 100_000, id="nested too deeply"),
])
def test_form_texts_become_values(text: str, kind: str, value: object):
    """A text becomes a value of the declared type. One that does not fit is passed to Nextflow as it is."""
    assert repr(typed(text, kind)) == repr(value)


def test_several_types(tmp_path: Path):
    """What a schema says in several ways to be of several types may be of each; anything else is refused."""
    (tmp_path / "main.nf").touch()
    (tmp_path / "nextflow_schema.json").write_text(json.dumps({"properties": {
        "threshold": {"oneOf": [{"type": "string", "enum": ["auto"]}, {"type": "number"}]},
        "least": {"anyOf": [{"type": "integer"}, {"const": False}, {"type": "null"}]},
        "share": {"type": ["number", "integer", "null"]}}, "$defs": {"twice": {"properties": {
            "threshold": {"type": "string"}}}}}))
    found = {p.name: p for p in declared(tmp_path)}
    assert {name: p.type for name, p in found.items()} == {
        "threshold": "string or number", "least": "integer or boolean", "share": "number"}
    assert [problem(found["least"], text) for text in ("5", "false", "")] == ["", "", ""]
    assert problem(found["least"], "x") == "'x' is not a whole number or true or false"


def test_a_params_block(tmp_path: Path):
    """A `params {}` block declares names, types, defaults and help; without a default one is required."""
    (tmp_path / "main.nf").write_text('''
        // not a parameter
        params {
            // The samplesheet.
            input: Path

            save_all: Boolean
            depth: Integer = 3   // of the tree
            ratio: Float? = 0.5
            aligner = "bwa{mem}"
            url: String = 'https://example.org/x'
            tools: List<String> = ['a', 'b']
            /* Optional. */
            extra: Path?
        }
        workflow { println params.input }
    '''.replace("\n        ", "\n"))
    found = {p.name: (p.type, p.default, p.help, p.required) for p in declared(tmp_path)}
    assert found == {
        "input": ("string", None, "The samplesheet.", True),
        "save_all": ("boolean", None, "", False),
        "depth": ("integer", 3, "", False),
        "ratio": ("number", 0.5, "", False),
        "aligner": ("string", "bwa{mem}", "", False),
        "url": ("string", "https://example.org/x", "", False),
        "tools": ("array", None, "", False),
        "extra": ("string", None, "Optional.", False),
    }


def test_parameters_that_name_files(tmp_path: Path):
    """nf-core's formats, types of Latch, and Nextflow's Path say that a file or a folder is meant."""
    (tmp_path / "main.nf").write_text("params {\n  reads: Path\n  depth: Integer = 3\n}\n")
    assert {p.name: p.path for p in declared(tmp_path)} == {"reads": "any", "depth": ""}
    (tmp_path / "latch_metadata").mkdir()
    (tmp_path / "latch_metadata/__init__.py").write_text("""
NextflowMetadata(parameters={
    "sheet": NextflowParameter(type=LatchFile), "runs": NextflowParameter(type=list[LatchDir]),
    "index": NextflowParameter(type=typing.Optional[latch.LatchFile]), "depth": NextflowParameter(type=int)})
""")
    assert {p.name: p.path for p in declared(tmp_path)} == {
        "sheet": "file", "runs": "folder", "index": "file", "depth": ""}
    (tmp_path / "nextflow_schema.json").write_text(json.dumps({"properties": {
        "input": {"type": "string", "format": "file-path"}, "out": {"format": "directory-path"},
        "list": {"type": "array", "items": {"type": "string", "format": "file-path"}},
        "mail": {"format": "email"}}}))
    assert {p.name: p.path for p in declared(tmp_path)} == {
        "input": "file", "out": "folder", "list": "file", "mail": ""}
    (tmp_path / "w.py").write_text("def run(reads: list[LatchFile], to: 'LatchOutputDir', n: int): ...\n")
    assert {p.name: p.path for p in of_workflow(tmp_path / "w.py", "run")} == {
        "reads": "file", "to": "folder", "n": ""}
