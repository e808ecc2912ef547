"""Files that have each construct of public Latch files, in each of its spellings: they run as they are."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT, Site
from tests.tasks import latch_sdk

CORPUS = sorted((PROJECT / "tests/workflows/corpus").glob("*.py"))


@pytest.mark.parametrize("file", CORPUS, ids=lambda file: file.stem)
@pytest.mark.parametrize("with_latch", [False, pytest.param(True, marks=[
    pytest.mark.long, pytest.mark.timeout(900)])], ids=["without latch", "with latch"])
def test_corpus(site: Site, file: Path, with_latch: bool):
    """Each file runs with the inputs of its second line, and gives the result of its first line."""
    text = file.read_text()
    expected = re.findall(r"^# result: (.*)$", text, re.M)[0]
    inputs = shlex.split("".join(re.findall(r"^# inputs: (.*)$", text, re.M)))
    shutil.copy(file, site.launch_dir)
    (site.launch_dir / "a.txt").write_text("a")
    folder = latch_sdk.environment() if with_latch else Path(sys.executable).parent
    done = subprocess.run([str(folder / "nfresume"), "launch", f"{file.name}:flow", *inputs], text=True,
                          cwd=site.launch_dir, env=site.env, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(expected)


def test_its_size():
    """There are at least 40 files."""
    assert len(CORPUS) >= 40
