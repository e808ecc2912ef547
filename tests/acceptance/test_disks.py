"""Case 30: full disks, for each place where something is written, with real Nextflow."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.test_faults import attempt_dir, sweep_until
from tests.conftest import Site, until

pytestmark = [pytest.mark.slow,
              pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small file system")]


@pytest.fixture
def site(site: Site) -> Site:
    """A site where an attempt is lost when its lease was not renewed for a second."""
    site.env["NFRESUME_LEASE_SECONDS"] = "1"
    return site


@contextlib.contextmanager
def small_disk(small: Path, size: str) -> Iterator[Path]:
    """Mount a small file system (tmpfs) at `small`; `size` as mount takes it."""
    small.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(small)], check=True)
    try:
        yield small
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


def fill(small: Path) -> None:
    """Fill the file system to its last byte."""
    with contextlib.suppress(OSError), (small / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(b"x" * 4096)


def test_disk_full(site: Site):
    """Case 30: the cause is named, the work dir is kept, and a relaunch works once there is space."""
    with small_disk(site.base / "small", "48m") as small:
        site.env["NFRESUME_ROOT"] = str(small / "root")
        (site.launch_dir / "main.nf").write_text("""
            params.mb = 200
            process FIRST { output: path 'first.txt'
              script: "echo 1 > first.txt" }
            process FILL { input: path first
              output: path 'fill'
              script: "head -c ${params.mb}M /dev/zero > fill" }
            workflow { FILL(FIRST()) }
        """)
        full = site.run("launch", "main.nf", "--storage-expiration-hours", "1")
        assert full.code == 1
        e = site.show()
        assert (e["state"], e["work_dir"]["state"]) == ("FAILED", "RETAINED")
        assert "no space left" in e["attempts"][0]["error"]
        refused = site.run("relaunch", e["id"], "--mb", "1")
        assert (refused.code, "no space left" in refused.err) == (73, True)
        refused = site.run("launch", "main.nf")
        assert (refused.code, "no space left" in refused.err) == (73, True)
        next(small.glob("root/team/*/work/*/*/fill")).unlink()
        site.ok("relaunch", e["id"], "--mb", "1")
        tasks = site.show()["attempts"][1]["tasks"]  # a full disk may also have cost Nextflow's own cache
        assert tasks["cached"] + tasks["succeeded"] == 2


def test_a_full_disk_of_results(site: Site):
    """What a failed task has linked to elsewhere cannot be copied there: slim retention leaves it alone."""
    site.env["NFRESUME_LEASE_SECONDS"] = "30"
    (site.launch_dir / "main.nf").write_text("""
        process FAIL {
          script: "head -c 2M /dev/zero > partial; ln -s \\$PWD/partial $workflow.launchDir/results; exit 1" }
        workflow { FAIL() }
    """)
    with small_disk(site.launch_dir / "results", "100k"):
        done = site.run("launch", "--retain", "slim", "--storage-expiration-hours", "1", "main.nf")
        assert done.code == 1
        assert "No space left on device" in done.err
        assert "slim: nothing was removed" in done.err
        assert (site.launch_dir / "results/partial").stat().st_size == 2 << 20


def test_a_full_disk_of_the_database(site: Site):
    """Case 30 for the database: the outcome waits until there is space; a launch is refused with one line."""
    with small_disk(site.base / "small", "4m") as small:
        site.env["NFRESUME_DATABASE_URL"] = f"sqlite:///{small / 'state.db'}"
        site.ok("launch", "--detach", str(site.pipeline("slow")), "--seconds", "3")
        e = until(lambda: e if (e := site.show())["attempts"][0]["tasks"]["submitted"] else None)
        fill(small)
        until(lambda: (attempt_dir(e) / "exit_status.json").exists(), 60)
        refused = site.run("launch", "--detach", "slow")
        assert (refused.code, "full" in refused.err) == (71, True), refused.err
        assert "Traceback" not in refused.err
        assert site.show(e["id"])["state"] == "RUNNING"
        (small / "filler").unlink()
        assert sweep_until(site, "SUCCEEDED", "DELETED")["attempts"][0]["exit_code"] == 0
        with contextlib.closing(sqlite3.connect(small / "state.db")) as db:
            assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


@pytest.mark.long
@pytest.mark.parametrize("freed", [
    pytest.param(False, id="to-the-end"),
    pytest.param(True, id="freed-meanwhile", marks=pytest.mark.long),
])
def test_a_full_disk_of_the_log(site: Site, freed: bool):
    """Case 30 for the log: only it tells what was published, so that missing lines hold the work dir."""
    site.pipeline("slow")
    site.ok("launch", "--detach", "slow", "--n", "2", "--storage-expiration-hours", "5")
    until(lambda: site.show()["attempts"][0]["tasks"]["submitted"] or None)
    e = site.show()
    site.ok("cancel", e["id"])
    site.run("wait", e["id"])
    with small_disk(attempt_dir(e, 2), "1m") as small:
        site.ok("relaunch", e["id"], "--detach", "--seconds", "8")
        log = small / "nextflow.log"
        until(lambda: log.exists() and "> SLOW" in log.read_text(errors="replace"), what="its tasks")
        fill(small)
        if freed:
            until(lambda: (site.launch_dir / "results/slow.1").is_symlink(), what="a result")
            (small / "filler").unlink()
        site.run("wait", e["id"], "--timeout", "60")
        e = site.show(e["id"])
        assert [(site.launch_dir / f"results/slow.{n}").read_text() for n in (1, 2)] == ["begin\nend\n"] * 2
        if freed and e["state"] == "SUCCEEDED":  # what the log's last block could hold was enough
            assert "results_secured" in [event["name"] for event in e["events"]]
            return
        assert (e["work_dir"]["state"], e["work_dir"]["expires_at"]) == ("RETAINED", None)
        assert "log" in e["work_dir"]["reason"]
        assert "was its disk full?" in e["work_dir"]["reason"]
        (small / "filler").unlink(missing_ok=True)
        site.ok("relaunch", e["id"])  # cached tasks publish again, and this log is complete
    e = site.show(e["id"])
    assert (e["state"], e["work_dir"]["state"]) == ("SUCCEEDED", "DELETED")
    assert e["attempts"][2]["tasks"]["cached"] >= 2  # a task whose end the log does not tell runs again
    assert [(site.launch_dir / f"results/slow.{n}").read_text() for n in (1, 2)] == ["begin\nend\n"] * 2


@pytest.mark.long
def test_a_full_disk_of_the_cache(site: Site):
    """Case 30 for the cache: the cause is named, the work dir kept; with space a relaunch reuses tasks."""
    site.pipeline("slow")
    site.ok("launch", "--detach", "slow", "--storage-expiration-hours", "5")
    until(lambda: site.show()["attempts"][0]["tasks"]["succeeded"] or None)
    execution = site.show()["id"]
    site.ok("cancel", execution)
    e = site.run("wait", execution, "--json").json()
    cache = Path(e["work_dir"]["path"]).parent / "cache"
    with small_disk(cache, "64k") as small:
        fill(small)
        assert site.run("relaunch", execution, "--from-scratch", "--seconds", "1").code != 0
        e = site.show(execution)
        assert (e["state"], e["work_dir"]["state"]) == ("FAILED", "RETAINED")
        assert "no space left" in e["attempts"][1]["error"].lower()
    assert "1 task reused" in site.ok("relaunch", execution, "--seconds", "1").err
    assert site.show(execution)["work_dir"]["state"] == "DELETED"
