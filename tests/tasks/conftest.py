"""Python workflows as a user runs them."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.conftest import PROJECT, Site

WORKFLOWS = PROJECT / "tests/workflows"


def put(site: Site, name: str) -> Path:
    """A private copy of a workflow in the launch dir, so that a test can change it."""
    return Path(shutil.copy(WORKFLOWS / name, site.launch_dir))


def ran(site: Site) -> list[str]:
    """The tasks that ran since the last call of this function, one line each."""
    file = site.launch_dir / "ran.txt"
    lines = file.read_text().splitlines() if file.exists() else []
    file.unlink(missing_ok=True)
    return lines


def fix(script: Path, old: str, new: str) -> None:
    """Change a workflow's code."""
    text = script.read_text()
    assert old in text
    script.write_text(text.replace(old, new))
