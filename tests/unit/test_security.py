"""docs/security.md names tests that exist."""

from __future__ import annotations

import re

from tests.conftest import PROJECT


def test_every_test_of_the_table_exists():
    """Each requirement names at least one test, and every named test exists."""
    text = (PROJECT / "docs/security.md").read_text()
    rows = [line for line in text.splitlines() if re.match(r"\| \d", line) and "`test_" in line]
    assert len(rows) > 40
    named = set(re.findall(r"`(test_\w+)`", text))
    sources = "".join(path.read_text() for path in (PROJECT / "tests").rglob("test_*.py"))
    assert named - set(re.findall(r"^def (test_\w+)\(", sources, re.M)) == set()
    requirements = [line for line in text.splitlines() if re.match(r"\| \d+\.\d+\.\d", line)]
    assert all("`test_" in line for line in requirements)
