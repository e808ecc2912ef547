"""Runs the tests of removal, scan and publishing on the file system of a given folder."""

from __future__ import annotations

import sys
from pathlib import Path

SUITES = ("test_removal.py", "test_scan.py", "test_publish.py")
_HERE = Path(__file__).resolve().parent.parent / "integration" / "storage"
#: Fewer random trees than on a local disk, because each operation is a round trip.
ENVIRONMENT = {"NFRESUME_TEST_EXAMPLES": "8"}


def command(folder: Path) -> list[str]:
    """The command that runs these tests with their files in `folder`."""
    return [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "-p", "no:xdist",
            "-m", "not scale", f"--basetemp={folder}", *(str(_HERE / name) for name in SUITES)]
