"""What a command does when its output cannot be written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import BIN, Site


@pytest.mark.parametrize(("words", "code", "to"), [
    ("list --json", 70, "> /dev/full"), ("config", 70, "> /dev/full"), ("list --json", 0, "2> /dev/full"),
    ("show nothing", 66, "2> /dev/full"), ("list --json", 0, "2>&-"), ("list --json", 0, "<&-"),
])
def test_a_full_disk_and_closed_streams(site: Site, words: str, code: int, to: str):
    """A full disk at standard output is an error in one line; at standard error it changes nothing."""
    done = subprocess.run(["bash", "-c", f'"{BIN}/nfresume" {words} {to}'], cwd=site.launch_dir, env=site.env,
                          text=True, capture_output=True, timeout=60, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    if to == "> /dev/full":
        assert "cannot be written: No space left on device" in done.stderr


def test_what_an_encoding_cannot_express(site: Site):
    """A file name that standard output's encoding lacks is printed as an escape."""
    (site.base / "é.toml").touch()
    env = {**site.env, "PYTHONIOENCODING": "ascii", "NFRESUME_CONFIG": str(site.base / "é.toml"),
           "NFRESUME_NEXTFLOW": str(Path("/é/nextflow"))}
    done = subprocess.run([str(BIN / "nfresume"), "config"], cwd=site.launch_dir, env=env, check=False,
                          text=True, capture_output=True, timeout=60)
    assert (done.returncode, "/\\xe9/nextflow" in done.stdout) == (0, True), done.stderr


@pytest.mark.parametrize(("words", "said", "help_for"), [
    ("relaunch", "Missing argument 'ID [NEXTFLOW OPTIONS]...'",
     "see `nfresume relaunch --help`; `nfresume list` shows the IDs"),
    ("user role", "Missing argument 'NAME'", "see `nfresume user role --help`"),
    ("frob", "No such command 'frob'", "see `nfresume --help`"),
])
def test_words_that_are_missing_or_wrong(site: Site, words: str, said: str, help_for: str):
    """Two lines: what is wrong, and where the help for this very command is."""
    done = site.run(*words.split())
    assert done.code == 64
    assert done.err.splitlines()[0].startswith(f"nfresume: error: {said}")
    assert help_for in done.err.splitlines()[1]


def test_the_module_is_named_as_the_command(site: Site):
    """`python -m nfresume` names the command `nfresume` in its help and in advice."""
    words = [sys.executable, "-m", "nfresume", "relaunch"]
    done = subprocess.run(words, cwd=site.launch_dir, env=site.env, text=True, capture_output=True,
                          check=False, timeout=60)
    assert done.returncode == 64
    assert "see `nfresume relaunch --help`" in done.stderr
