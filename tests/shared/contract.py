"""The contract of removal, scan and publishing, run on whatever file system a folder is on."""

from __future__ import annotations

import sys
from pathlib import Path

SUITES = ("test_removal.py", "test_scan.py", "test_publish.py")
_HERE = Path(__file__).resolve().parent.parent / "integration" / "storage"
#: Fewer random trees than on a local disk: each of their operations is a round trip.
ENVIRONMENT = {"NFRESUME_TEST_EXAMPLES": "8"}


def command(folder: Path) -> list[str]:
    """The command that runs the contract with its files in `folder`."""
    return [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "-p", "no:xdist",
            "-m", "not scale", f"--basetemp={folder}", *(str(_HERE / name) for name in SUITES)]
