"""The README is true: its commands run, and it names every command, setting and exit code."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from nfresume.domain import errors
from nfresume.settings import SETTINGS
from tests.conftest import FIXTURES, PROJECT, Site

pytestmark = pytest.mark.slow
README = (PROJECT / "README.md").read_text()
COMMANDS = re.findall(r"^\$ (.+)$", "\n".join(re.findall(r"```console\n(.*?)```", README, re.DOTALL)), re.M)


def test_every_command_runs(site: Site):
    """In the order in which a reader types them, in one folder, with the exit status that is named."""
    for name in ("fail-late", "scratch", "slow"):
        shutil.copytree(FIXTURES / name, site.here / name)
    shutil.copy(PROJECT / "tests/workflows/assembly.py", site.here)
    for name, read in (("a", "GGCCAATTGG"), ("b", "AAAATTTTGG")):
        (site.here / f"{name}.fastq").write_text(f"@1\n{read}\n")
    assert len(COMMANDS) > 20
    for line in COMMANDS:
        command, _, note = line.partition("  # exit status ")
        done = subprocess.run(["bash", "-c", command], cwd=site.here, env=site.env, text=True,
                              capture_output=True, stdin=subprocess.DEVNULL, timeout=120)
        assert done.returncode == int(note or 0), f"{line}\n{done.stdout}\n{done.stderr}"
    assert (site.here / "results/report.csv").exists()


def test_every_command_and_setting_is_named(site: Site):
    """Nothing that exists is left out, and nothing that is listed is missing."""
    listed = re.findall(r"^│ (\w[\w-]*) ", site.ok("--help", COLUMNS="200").out, re.M)
    assert len(listed) == 24
    for command in listed:
        assert f"nfresume {command}" in README or f"`{command}`" in README, command
    for setting in SETTINGS:
        assert f"| `{setting.key}` | `{setting.env}` |" in README, setting.key
    for error in vars(errors).values():
        if isinstance(error, type) and error.__module__ == errors.__name__ and error.exit_code < 82:
            assert str(error.exit_code) in README, error


def test_every_command_has_help_with_an_example(site: Site):
    """`--help` of each command shows how it is typed."""
    listed = re.findall(r"^│ (\w[\w-]*) ", site.ok("--help", COLUMNS="200").out, re.M)
    for command in listed:
        text = site.ok(command, "--help", COLUMNS="200").out
        assert f"nfresume {command}" in text, command
        if command not in ("cache", "engine", "token", "user"):
            assert "Example" in text, command


def test_the_demo():
    """`make demo` runs from start to end."""
    done = subprocess.run(["make", "demo"], cwd=PROJECT, capture_output=True, text=True, timeout=280,
                          stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"7 tasks reused(?: \(.*?\))?, 1 rerun, 0 new", done.stderr)
