"""The digest of a function's code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nfresume.tasks import shapes
from nfresume.tasks.source import code_digest
from tests.unit.tasks import modules

PLAIN = 'def task():\n    return """{}"""\n'
NESTED = 'def make():\n    def task():\n        return """{}"""\n    return task\n\n\ntask = make()\n'
DEEPER = NESTED.replace("    def task():\n    ", "    if True:\n        def task():\n        ")


def task_of(folder: Path, text: str) -> Any:
    file = folder / f"flow{len(list(folder.iterdir()))}.py"
    file.write_text(text)
    return modules.load(file).task


@pytest.mark.parametrize("form", [PLAIN, NESTED])
def test_all_of_a_text_counts(tmp_path: Path, form: str):
    """Blank lines, and how far the lines are indented, are part of a text in the code."""
    texts = ["a\n\nb", "a\n   \nb", "a\n        b", "a\n    b", "a\nb"]
    tasks = [task_of(tmp_path, form.format(text)) for text in texts]
    assert [task() for task in tasks] == texts
    assert len({code_digest(task) for task in tasks}) == len(texts)


def test_a_text_moved_with_its_function(tmp_path: Path):
    """An editor that indents a function may indent the lines of its texts, too: it returns another text."""
    one = task_of(tmp_path, NESTED.format("a\n            b"))
    other = task_of(tmp_path, DEEPER.format("a\n                b"))
    assert one() != other()
    assert code_digest(one) != code_digest(other)


def test_how_far_the_code_is_indented_does_not_matter(tmp_path: Path):
    assert len({code_digest(task_of(tmp_path, form.format("a\nb"))) for form in (PLAIN, NESTED, DEEPER)}) == 1


def test_a_text_in_a_class(tmp_path: Path):
    form = 'class task:\n    def say(self):\n        return """a\n{}\nb"""\n'
    kinds = [task_of(tmp_path, form.format(blank)) for blank in ("", "   ")]
    assert len({shapes.shape(kind) for kind in kinds}) == 2


def test_a_class_of_a_compiled_module_is_not_of_the_workflow():
    """Pickles of frames name functions that Cython has compiled, whose class is in a module without a file.

    A task that had not imported pandas could not read such a frame.
    """
    from pandas._libs.internals import _unpickle_block

    assert shapes.shape(type(_unpickle_block)) is None
