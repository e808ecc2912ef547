"""All of nfresume on real NFSv4.1, with hosts that share only the export."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from nfresume.home import ENGINES, engines
from tests.conftest import FIXTURES, PROJECT, until
from tests.shared import contract
from tests.shared.conftest import Nfs, environment

ROOT = "/mnt/efs/root"


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A launch dir that all guests see at the same path."""
    for name in ("fail-late", "slow"):
        shutil.copytree(FIXTURES / name, tmp_path / name)
    (tmp_path / "fail.nf").write_text("process FAIL { script: 'exit 1' }\nworkflow { FAIL() }\n")
    return tmp_path


def shown(place: Path, name: str) -> Any:
    return json.loads((place / name).read_text())


def in_project(words: list[str]) -> str:
    return f"cd {shlex.quote(str(PROJECT))}; {shlex.join(words)}"


@pytest.mark.long
def test_the_contract(nfs: Nfs):
    """Removal, scan and publishing behave on NFS as on a local disk."""
    words = contract.command(Path("/mnt/efs/contract"))
    exports = "".join(f"export {k}={v};" for k, v in contract.ENVIRONMENT.items())
    out = nfs.ok(1, exports + in_project(words))
    assert " passed" in out


def test_two_clients(nfs: Nfs):
    """Open files, stale handles, stale listings and stale look-ups between two independent clients."""
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist",
             str(PROJECT / "tests/shared/on_nfs.py")]
    out = nfs.ok(1, in_project(words), TWO="1")
    assert "6 passed" in out, out


@pytest.mark.long
def test_a_life_on_three_hosts(nfs: Nfs, nfs_database: str, here: Path):
    """Launched on one host, relaunched on another, removed on a third; an unmounted root loses nothing."""
    env = environment(ROOT, nfs_database)
    nfs.ok(1, f"""{env} cd {here}
        nfresume launch --storage-expiration-hours 5 fail-late --outdir /mnt/efs/results && exit 1
        nfresume launch --storage-expiration-hours 0.00001 fail.nf && exit 1
        nfresume list --json > listed
        umount -l /mnt/efs; ls -la /mnt/efs
        nfresume sweep --json > unmounted && exit 1
        nfresume list --json > still""")
    due, kept = (e["id"] for e in shown(here, "listed"))
    line = next(line for line in shown(here, "unmounted") if line["execution"]["id"] == due)
    assert line["error"]
    assert [e["work_dir"]["state"] for e in shown(here, "still")] == ["RETAINED", "RETAINED"]
    out = nfs.ok(2, f"""{env} cd {here}
        sed -i s/gc_contnet/gc_content/ fail-late/main.nf
        nfresume relaunch {kept} 2>&1
        nfresume show {kept} --json > relaunched; cat /mnt/efs/results/report.csv
        find /mnt/efs/results -type l""")
    relaunched = shown(here, "relaunched")
    assert relaunched["attempts"][1]["tasks"]["cached"] == relaunched["attempts"][0]["tasks"]["succeeded"] > 0
    assert (relaunched["state"], relaunched["work_dir"]["state"]) == ("SUCCEEDED", "DELETED")
    assert "sample,bases,gc_content" in out
    assert not out.rstrip().endswith("results")
    nfs.ok(3, f"""{env} cd {here}
        nfresume sweep; nfresume show {due} --json > swept; ls -A {ROOT}/.trash > trash""")
    assert shown(here, "swept")["work_dir"]["state"] == "DELETED"
    assert (here / "trash").read_text() == ""
    assert not (nfs.export / "root/team" / due / "work").exists()
    assert (nfs.export / "root/team" / due / "attempts/1/nextflow.log").exists()


_REMOVE = """
import sys
from pathlib import Path
from nfresume.storage import Root
from nfresume.storage.workers import Pace
from nfresume.storage.removal import empty_trash
from nfresume.storage.trash import to_trash
from tests.shared.on_nfs import grow
root = Root.mark(Path("/mnt/efs/killed"))
root.execution("team", "run-a1").provision(1)
grow(root, 150)
to_trash(root, "team", "run-a1")
Path(sys.argv[1]).touch()
removed = empty_trash(root, "run-a1", pace=Pace(per_second=150))
print(removed)
assert not removed.blocked and removed.files == 600, removed
"""


@pytest.mark.long
def test_a_server_that_is_killed(nfs: Nfs, nfs_database: str, here: Path):
    """kill -9 of the server during a run and a removal: both wait until it is back, and continue."""
    env = environment("/mnt/efs/server-root", nfs_database)
    (here / "remove.py").write_text(_REMOVE)
    guest = nfs.start(4, f"""{env} cd {PROJECT}
        {sys.executable} -c "$(cat {here}/remove.py)" {here}/removing > {here}/removed 2>&1 & removal=$!
        cd {here}; nfresume launch slow --seconds 8 --outdir /mnt/efs/slow > {here}/ran 2>&1
        nfresume show slow --json > shown; wait $removal""")
    try:
        until((here / "removing").exists, 60, "the removal has begun")
        until(lambda: "process >" in (here / "ran").read_text() if (here / "ran").exists() else False, 90,
              "the run has begun")
        nfs.control("kill-server")
        nfs.control("start-server")
        out, _ = guest.communicate(timeout=120)
    finally:
        guest.kill()
    assert guest.returncode == 0, out + (here / "removed").read_text() + (here / "ran").read_text()
    assert shown(here, "shown")["state"] == "SUCCEEDED"
    assert not any((nfs.export / "killed/.trash").iterdir())


@pytest.mark.long
def test_a_host_that_dies_with_the_lease(nfs: Nfs, nfs_database: str, here: Path):
    """The run of a host that died is lost; no other host touches its work dir, because tasks may still run
    there. When the host is back, it settles the run, and a relaunch continues from there."""
    env = environment("/mnt/efs/lease-root", nfs_database, NFRESUME_LEASE_SECONDS="3")
    guest = nfs.start(5, f"""{env} cd {here}
        nfresume launch --detach --storage-expiration-hours 1 slow --seconds 600 > id; touch launched
        until nfresume logs $(cat id) | grep -q 'process >'; do sleep .2; done; touch running; sleep 600""")
    until((here / "running").exists, 120, "the run has begun")
    nfs.control("kill-host", "5")
    guest.wait()
    execution = (here / "id").read_text().strip()
    nfs.ok(6, f"""{env} cd {here}; sleep 3
        nfresume sweep --json > swept || true
        nfresume relaunch {execution} 2> refused && exit 1
        nfresume delete {execution} --yes 2>> refused && exit 1
        nfresume show {execution} --json > lost""")
    assert "may still run there" in (here / "swept").read_text()
    assert (shown(here, "lost")["state"], shown(here, "lost")["work_dir"]["state"]) == ("RUNNING", "ACTIVE")
    nfs.ok(5, f"""{env} cd {here}
        nfresume sweep > settled
        nfresume relaunch {execution} --seconds 0
        nfresume show {execution} --json > relaunched""")
    assert "settled as FAILED" in (here / "settled").read_text()
    assert shown(here, "relaunched")["state"] == "SUCCEEDED"


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_torture(nfs: Nfs, nfs_database: str):
    """Lives with faults at random moments, their roots and results on NFS: `make torture` in a guest."""
    words = [sys.executable, "-m", "tests.proof.torture", "--where", "/mnt/efs", "--postgresql", nfs_database,
             "--at", "random", "--seeds", "4", "--side-by-side", "1"]
    out, _ = nfs.start(1, in_project(words)).communicate(timeout=3600)
    assert "4 trials, 0 broken" in out, out


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_lean(nfs: Nfs):
    """Random pipelines under lean retention, their roots and results on NFS: `make lean` in a guest.

    A server does not hold root to modes. So another user runs it, for whom the folders of root's home, where
    Python may be, are mounted once more in the guest.
    """
    words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env", "HOME=/run/user",
             "TMPDIR=/run/user", f"{ENGINES}={engines()}", sys.executable, "-m", "tests.proof.lean",
             "--where", "/mnt/efs", "--seed", "901", "--seeds", "1", "--pipelines", "4"]
    home = """mkdir -m 700 /run/user; chown 65534:65534 /run/user
        mkdir /run/root; mount --bind ~ /run/root; mount -t tmpfs -o mode=755 tmpfs ~
        for each in $(ls -A /run/root); do
            [ ! -d /run/root/$each ] || { mkdir ~/$each; mount --bind /run/root/$each ~/$each; }
        done; """
    out, _ = nfs.start(1, home + in_project(words)).communicate(timeout=3600)
    assert "1 of 1 trials right" in out, out
    assert "refused: " not in out, out
    assert "'files emptied': 0" not in out, out
