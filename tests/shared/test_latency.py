"""nfresume on a mount where every operation takes a millisecond, as on EFS (see benchmarks/latfs)."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import PROJECT, Site, until
from tests.shared import contract
from tests.shared.conftest import PATIENCE, need

#: Tests that fail on a FUSE pass-through, but not on NFS: it opens files by path, so paths over PATH_MAX
#: fail, and a name that is replaced between look-up and open is missing for a moment.
NOT_HERE = ("depth_and_names", "paths_longer", "a_reader")


@pytest.fixture(scope="session")
def latfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of the FUSE file system, built from source."""
    need("go")
    program = tmp_path_factory.mktemp("latfs") / "latfs"
    subprocess.run(["go", "build", "-o", str(program), "."], cwd=PROJECT / "benchmarks/latfs", check=True)
    return program


@pytest.fixture
def mount(latfs: Path, tmp_path: Path) -> Iterator[Path]:
    """A mount on which reads take 0.6 ms and changes 1 ms, 64 at a time."""
    place, backing = tmp_path / "efs", tmp_path / "backing"
    place.mkdir()
    backing.mkdir()
    words = [str(latfs), "-r", "600us", "-w", "1ms", "-slots", "64", str(backing), str(place)]
    server = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    until(place.is_mount, 10, "latfs is mounted")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)
    server.wait(10)


@pytest.mark.long
def test_the_contract(mount: Path):
    """Removal, scan and publishing behave as on a local disk."""
    env = {**os.environ, **contract.ENVIRONMENT}
    words = [*contract.command(mount / "contract"), "-k", " and ".join(f"not {name}" for name in NOT_HERE)]
    done = subprocess.run(words, cwd=PROJECT, env=env, text=True,
                          capture_output=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout


@pytest.mark.long
def test_a_life(mount: Path, site: Site):
    """A run fails, is measured, relaunched and deleted, with a millisecond per operation."""
    site.env["NFRESUME_ROOT"] = str(mount / "root")
    script = site.pipeline("fail-late") / "main.nf"
    out = str(mount / "out")
    failed = site.run("launch", "--storage-expiration-hours", "5", "fail-late", "--outdir", out)
    assert failed.code == 1, failed.err
    measured = site.ok("measure", site.show()["id"], "--json").json()
    assert {row["process"] for row in measured["processes"]} >= {"TRIM", "REPORT", "(cache)"}
    script.write_text(script.read_text().replace("gc_contnet", "gc_content"))
    site.ok("relaunch", site.show()["id"])
    shown = site.show()
    assert (shown["state"], shown["work_dir"]["state"]) == ("SUCCEEDED", "DELETED")
    assert (mount / "out/report.csv").read_text().startswith("sample,bases")
    assert not (mount / "out/report.csv").is_symlink()


@pytest.mark.long
def test_an_unmounted_root(mount: Path, site: Site, tmp_path: Path):
    """Case 32: while the file system is not mounted, nothing is deleted and nothing is marked as deleted."""
    site.env["NFRESUME_ROOT"] = str(mount / "root")
    (site.launch_dir / "fail.nf").write_text("process FAIL { script: 'exit 1' }\nworkflow { FAIL() }\n")
    assert site.run("launch", "--storage-expiration-hours", "0.00001", "fail.nf").code == 1
    shutil.move(mount / "root/.nfresume", tmp_path / "mark")  # as if another file system were mounted there
    swept = site.run("sweep")
    assert swept.code == 74, swept.out
    assert "not marked as a root" in swept.out
    assert site.show()["work_dir"]["state"] == "RETAINED"
    shutil.move(tmp_path / "mark", mount / "root/.nfresume")
    site.ok("sweep")
    assert site.show()["work_dir"]["state"] == "DELETED"
