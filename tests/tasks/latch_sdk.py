"""A second environment, in which Latch's own package is installed beside nfresume."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import filelock
import pytest

from tests.conftest import PROJECT

VERSION = "2.77.2"


def environment() -> Path:
    """The folder of its programs. It is made once. Without network the test is skipped; in CI it fails."""
    folder = PROJECT / f".test-output/latch-{VERSION}"
    folder.parent.mkdir(exist_ok=True)
    with filelock.FileLock(f"{folder}.lock"):
        if not (folder / "complete").exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
            words = ["install", "-q", "--no-compile", f"latch=={VERSION}", "numpy", "pandas", "-e", PROJECT]
            done = subprocess.run([str(folder / "bin/pip"), *words], capture_output=True, text=True)
            if done.returncode != 0 and not os.environ.get("CI"):
                pytest.skip(f"latch {VERSION} cannot be installed: {done.stderr[-300:]}")
            assert done.returncode == 0, done.stderr
            (folder / "complete").touch()
    return folder / "bin"
