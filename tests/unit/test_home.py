"""The user's own folders."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nfresume import home
from nfresume.domain.errors import UsageError
from tests.conftest import ORDINARY_USER


def test_folders_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """They are where the XDG variables say, else below HOME."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert home.folder("cache") == tmp_path / ".cache/nfresume"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert home.folder("cache") == tmp_path / "x/nfresume"
    assert home.home({"HOME": "/h"}) == Path("/h")


@pytest.mark.skipif(not ORDINARY_USER, reason="only root can become a user without an entry")
def test_a_user_without_a_home_folder():
    """In a container with an arbitrary user id and no HOME the error says so, in one line."""
    env = {k: v for k, v in os.environ.items() if k != "HOME" and not k.startswith(("XDG_", "NFRESUME_"))}
    done = subprocess.run([*ORDINARY_USER, sys.executable, "-c", "from nfresume.cli import main; main()",
                           "list"], env=env, text=True, capture_output=True, check=False, timeout=60)
    assert (done.returncode, "Traceback" in done.stderr) == (UsageError.exit_code, False)
    assert "there is no home folder: HOME is not set, and user id 54321 has none" in done.stderr
