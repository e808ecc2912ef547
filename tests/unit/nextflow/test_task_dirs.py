"""Which task a user means."""

from __future__ import annotations

import pytest

from nfresume.nextflow import task_dirs

DIR = "ca/0123456789abcdef0123456789abcd"


@pytest.mark.parametrize(("wanted", "name", "meant"), [
    ("ALIGN", "ALIGN", True), ("ALIGN", "ALIGN (liver)", True), ("ALIGN (liver)", "ALIGN (liver)", True),
    ("ALIGN", "RNASEQ:STAR:ALIGN (liver)", True), ("ALIGN (liver)", "RNASEQ:STAR:ALIGN (liver)", True),
    ("RNASEQ:STAR:ALIGN", "RNASEQ:STAR:ALIGN (liver)", True), ("STAR", "RNASEQ:STAR:ALIGN", False),
    ("liver", "ALIGN (liver)", False), ("ALIGN (a:b)", "X:ALIGN (a:b)", True), ("ALIG", "ALIGN", False),
    ("ca", "ALIGN", True), ("ca/01", "ALIGN", True), (DIR, "ALIGN", True), ("c", "ALIGN", False),
    ("", "ALIGN", False),
])
def test_what_a_user_means(wanted: str, name: str, meant: bool):
    """A name with or without workflows and tag, or the start of a task dir; never a part of a name."""
    assert task_dirs.means(wanted, name, DIR) == meant
