"""docs/reliability.md and the tests agree: every case is there, and every test that it names exists."""

from __future__ import annotations

import re

from tests.conftest import PROJECT

CASES = 122


def test_the_matrix():
    """All cases, each once and in order, each with a test or a target that exists."""
    text = (PROJECT / "docs/reliability.md").read_text()
    rows = re.findall(r"^\| (\d+) \|.*\| ([^|]+) \|$", text, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, CASES + 1))
    there = {name for path in (PROJECT / "tests").rglob("*.py")
             for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)}
    makefile = (PROJECT / "Makefile").read_text()
    for number, proofs in rows:
        named = re.findall(r"`([^`]+)`", proofs)
        assert named, number
        for name in named:
            known = f"\n{name[5:]}:" in makefile if name.startswith("make ") else name in there
            assert known, (number, name)
