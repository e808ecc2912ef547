"""The contract of storage as an ordinary user, whom file modes restrict."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import PROJECT, privileged
from tests.shared import contract

#: The same user without root's capabilities, so that file modes apply.
ORDINARY = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--"]


@pytest.mark.scale
@pytest.mark.skipif(not privileged(), reason="the other tests run without privileges already")
@pytest.mark.long
def test_the_contract(tmp_path: Path):
    """Removal, scan and publishing pass without privileges, with trees of random modes."""
    env = {**os.environ, "NFRESUME_TEST_EXAMPLES": "100"}
    done = subprocess.run([*ORDINARY, *contract.command(tmp_path / "trees")], cwd=PROJECT, env=env, text=True,
                          capture_output=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "needs root, for mounts" in done.stdout
