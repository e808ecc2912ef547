"""What an error says, and what helps against it."""

from pathlib import Path

import pytest

from nfresume.nextflow.failures import compiled, helps

COMPILE = ["Script compilation error", "- file : main.nf", "- cause: Invalid statement @ line 6, column 3.",
           "     x = A.out", "     ^", "", "1 error"]


@pytest.mark.parametrize(("lines", "said"), [
    (["@unknown", "no --input given"], None),
    (["Error executing process > 'A'", "Caused by:"], None),
    (COMPILE, "cannot compile main.nf, line 6: Invalid statement: x = A.out"),
    (["Script compilation error", "- file : /p/main.nf", "- cause: you tried to assign a value",
      " @ line 3, column 6.", "     n: Integer = 3"],
     "cannot compile /p/main.nf, line 3: you tried to assign a value: n: Integer = 3"),
    (["Script compilation failed", "Error main.nf:2:5: Unexpected input: '('"],
     "cannot compile main.nf, line 2: Unexpected input: '('"),
])
def test_compile_errors(lines, said):
    """A compile error has file, line, cause and text in one line."""
    assert compiled(lines) == said


@pytest.mark.parametrize(("script", "version", "needed"), [
    ("output {\n}", "24.10.5", "25.10"), ("params {\n  a: Path\n}", "25.04.4", "25.10"),
    ("record Sample {\n}", "25.10.7", "26.04"), ("output {\n}", "25.10.7", None),
    ("workflow {", "24.10.5", None),
])
def test_code_for_a_newer_nextflow(tmp_path: Path, script, version, needed):
    """A compile error of a script that uses what a newer Nextflow has says so, and how to get it."""
    (tmp_path / "main.nf").write_text(script)
    said = helps(compiled(COMPILE) or "", version, tmp_path)
    assert (said is not None and f"needs Nextflow {needed} or newer" in said) == (needed is not None)


def test_a_missing_plugin(tmp_path: Path):
    """A missing plugin is named, with where to put it."""
    said = helps("Plugin with id nf-x not found in any repository", "24.10.5", tmp_path)
    assert said is not None
    assert "the plugin nf-x is not in NXF_PLUGINS_DIR" in said
