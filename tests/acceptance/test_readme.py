"""The README's commands run, and it names every command, setting and exit code."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from nfresume.domain import errors
from nfresume.settings import SETTINGS
from tests.conftest import BIN, FIXTURES, ORDINARY_USER, PROJECT, Site

pytestmark = pytest.mark.slow
README = (PROJECT / "README.md").read_text()
INSTALL, USE = README.partition("## Run a pipeline")[::2]


def commands(text: str) -> list[str]:
    """The commands of a text's console blocks, in order."""
    return re.findall(r"^\$ (.+)$", "\n".join(re.findall(r"```console\n(.*?)```", text, re.DOTALL)), re.M)


def test_every_command_runs(site: Site):
    """Every command of the README runs, in order and in one folder, with the exit status that is named."""
    for name in ("fail-late", "scratch", "slow"):
        shutil.copytree(FIXTURES / name, site.launch_dir / name)
    shutil.copy(PROJECT / "tests/workflows/assembly.py", site.launch_dir)
    for name, read in (("a", "GGCCAATTGG"), ("b", "AAAATTTTGG")):
        (site.launch_dir / f"{name}.fastq").write_text(f"@1\n{read}\n")
    assert len(commands(USE)) > 20
    for line in commands(USE):
        command, _, note = line.partition("  # exit status ")
        done = subprocess.run(["bash", "-c", command], cwd=site.launch_dir, env=site.env, text=True,
                              capture_output=True, stdin=subprocess.DEVNULL, timeout=120)
        assert done.returncode == int(note or 0), f"{line}\n{done.stdout}\n{done.stderr}"
    assert (site.launch_dir / "results/report.csv").exists()


def test_the_install_section(site: Site):
    """An ordinary user with an empty home installs the wheel as the README says, and runs a pipeline."""
    checkout, home = site.base / "checkout", site.base / "home"
    home.mkdir()
    shutil.copytree(PROJECT, checkout, symlinks=True, ignore=shutil.ignore_patterns(
        ".*", "dist", "__pycache__", "tests", "docs"))
    (checkout / ".venv").mkdir()  # `make dist` finds its tools set up
    for each in (BIN.parent).iterdir():
        (checkout / ".venv" / each.name).symlink_to(each)
    (checkout / ".venv/.installed").unlink(missing_ok=True)
    (checkout / ".venv/.installed").touch()
    shutil.copytree(FIXTURES / "modules", site.launch_dir / "modules")
    script = "\n".join([
        "set -e", f"cd {checkout}", *commands(INSTALL), f"cd {site.launch_dir}",
        "nfresume launch modules --outdir results", "nfresume --version",
    ])
    env = {"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8", "PIP_NO_COMPILE": "1",
           "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))}
    done = subprocess.run([*ORDINARY_USER, "bash", "-c", script], env=env, text=True, capture_output=True,
                          stdin=subprocess.DEVNULL, timeout=280)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "SUCCEEDED" in done.stderr or "succeeded" in done.stderr
    assert any((site.launch_dir / "results").rglob("*"))


def test_every_command_and_setting_is_named(site: Site):
    """Every command, setting and exit code is named in the README."""
    listed = re.findall(r"^│ (\w[\w-]*) ", site.ok("--help", COLUMNS="200").out, re.M)
    assert len(listed) == 30
    for command in listed:
        assert f"nfresume {command}" in README or f"`{command}`" in README, command
    for setting in SETTINGS:
        assert f"| `{setting.key}` | `{setting.env}` |" in README, setting.key
    for error in vars(errors).values():
        if isinstance(error, type) and error.__module__ == errors.__name__ and error.exit_code < 82:
            assert str(error.exit_code) in README, error


def test_every_command_has_help_with_an_example(site: Site):
    """`--help` of each command shows an example."""
    listed = re.findall(r"^│ (\w[\w-]*) ", site.ok("--help", COLUMNS="200").out, re.M)
    for command in listed:
        text = site.ok(command, "--help", COLUMNS="200").out
        assert f"nfresume {command}" in text, command
        if command not in ("cache", "engine", "sessions", "token", "user"):
            assert "Example" in text, command


@pytest.mark.long
def test_the_demo():
    """`make demo` runs to its end."""
    done = subprocess.run(["make", "demo"], cwd=PROJECT, capture_output=True, text=True, timeout=280,
                          stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"7 tasks reused(?: \(.*?\))?, 1 rerun, 0 new", done.stderr)
