"""What an error says, and what helps against it."""

from pathlib import Path

import pytest

from nfresume.nextflow.failures import helps, words

COMPILE = ["Script compilation error", "- file : main.nf", "- cause: Invalid statement @ line 6, column 3.",
           "     x = A.out", "     ^", "", "1 error"]


@pytest.mark.parametrize(("lines", "first"), [
    (["@unknown", "java.lang.IllegalStateException: no --input given: it's needed"],
     "no --input given: it's needed"),
    (["@unknown", "nextflow.exception.WorkflowScriptErrorException: no"], "no"),
    (["@unknown", "java.lang.NullPointerException"], "java.lang.NullPointerException"),
    (["Error executing process > 'A'", "Caused by:"], "Error executing process > 'A'"),
    (COMPILE, "cannot compile main.nf, line 6: Invalid statement: x = A.out"),
    (["Script compilation error", "- file : /p/main.nf", "- cause: you tried to assign a value",
      " @ line 3, column 6.", "     n: Integer = 3"],
     "cannot compile /p/main.nf, line 3: you tried to assign a value: n: Integer = 3"),
    (["Script compilation failed", "Error main.nf:2:5: Unexpected input: '('"],
     "cannot compile main.nf, line 2: Unexpected input: '('"),
])
def test_the_exceptions_own_words(lines, first):
    """The first line is the exception's message; a compile error has file, line, cause and text in one."""
    assert words(lines)[0] == first


@pytest.mark.parametrize(("script", "version", "needed"), [
    ("output {\n}", "24.10.5", "25.10"), ("params {\n  a: Path\n}", "25.04.4", "25.10"),
    ("record Sample {\n}", "25.10.7", "26.04"), ("output {\n}", "25.10.7", None),
    ("workflow {", "24.10.5", None),
])
def test_code_for_a_newer_nextflow(tmp_path: Path, script, version, needed):
    """A compile error of a script that uses what a newer Nextflow has says so, and how to get it."""
    (tmp_path / "main.nf").write_text(script)
    said = helps(COMPILE, version, tmp_path)
    assert (said is not None and f"needs Nextflow {needed} or newer" in said) == (needed is not None)


def test_a_missing_plugin(tmp_path: Path):
    """A missing plugin is named, with where to put it."""
    found = "org.pf4j.PluginRuntimeException: Plugin with id nf-x not found in any repository"
    said = helps(["@unknown", found], "24.10.5", tmp_path)
    assert said is not None
    assert "the plugin nf-x is not in NXF_PLUGINS_DIR" in said
