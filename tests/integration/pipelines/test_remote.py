"""The hours of a remote pipeline, at the revision that ran, in both layouts of Nextflow's copies."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from nfresume.domain.errors import InvalidMetadata
from nfresume.nextflow import assets
from nfresume.pipelines.remote import hours_of
from tests.logs import stamped


def git(place: Path, *words: str) -> str:
    done = subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@example.org", *words], cwd=place,
                          check=True, capture_output=True, text=True)
    return done.stdout.strip()


def write(place: Path, hours: object) -> None:
    (place / "latch_metadata").mkdir(parents=True, exist_ok=True)
    (place / "latch_metadata/__init__.py").write_text(
        "from nfresume_metadata import LatchAuthor, NextflowMetadata, NextflowRuntimeResources\n"
        "NextflowMetadata(display_name='x', author=LatchAuthor(name='x'), "
        f"runtime_resources=NextflowRuntimeResources(storage_expiration_hours={hours}))\n")


def log(place: Path, commit: str) -> Path:
    """The beginning of Nextflow's log of a run of `commit`."""
    file = place / "nextflow.log"
    run = "nextflow.cli.CmdRun"
    launching = f"Launching `https://github.com/a/b` [x] DSL2 - revision: {commit[:10]} [master]"
    file.write_text("\n".join([
        stamped(run, "INFO", launching), stamped("nextflow.Session", "DEBUG", "Session UUID: x"),
        stamped(run, "INFO", "Launching `x` [y] DSL2 - revision: 0123456789 [z]"), ""]))
    return file


def test_one_working_tree(tmp_path: Path):
    """Up to 25.10: the hours are those of the commit that ran, also when another one is checked out now."""
    tree = tmp_path / "assets/acme/rna"
    tree.mkdir(parents=True)
    git(tree, "init", "-q")
    commits = []
    for hours in (12, 5):
        write(tree, hours)
        git(tree, "add", "-A")
        git(tree, "commit", "-q", "-m", str(hours))
        commits.append(git(tree, "rev-parse", "HEAD"))
    environ = {"NXF_ASSETS": str(tmp_path / "assets")}
    for commit, hours in zip(commits, (12, 5), strict=True):
        found = hours_of("acme/rna", log(tmp_path, commit), environ)
        assert found is not None
        assert (found.hours, found.source) == (
            hours, f"latch_metadata/__init__.py of acme/rna at {commit[:10]}")
    assert git(tree, "status", "--porcelain") == ""


def test_one_clone_for_each_commit(tmp_path: Path):
    """From 26.04: the clone of the commit that ran."""
    clones = tmp_path / "assets/.repos/acme/rna/clones"
    for commit, hours in (("a" * 40, 12), ("b" * 40, 5)):
        write(clones / commit, hours)
    environ = {"NXF_ASSETS": str(tmp_path / "assets")}
    for name in ("acme/rna", "https://github.com/acme/rna.git", "acme/rna/other.nf", "rna"):
        found = hours_of(name, log(tmp_path, "b" * 40), environ)
        assert found is not None
        assert found.hours == 5
    assert assets.copy("acme/rna", environ).parent == clones


def test_what_is_not_known(tmp_path: Path):
    """Nothing pulled, an unknown commit, or no metadata: no hours. A bad value is an error."""
    environ = {"NXF_ASSETS": str(tmp_path / "assets")}
    assert hours_of("acme/rna", tmp_path / "nothing.log", environ) is None
    assert hours_of("acme/rna", log(tmp_path, "c" * 40), environ) is None
    clone = tmp_path / "assets/.repos/acme/rna/clones" / ("c" * 40)
    clone.mkdir(parents=True)
    assert hours_of("acme/rna", log(tmp_path, "c" * 40), environ) is None
    write(clone, -1)
    with pytest.raises(InvalidMetadata):
        hours_of("acme/rna", log(tmp_path, "c" * 40), environ)
