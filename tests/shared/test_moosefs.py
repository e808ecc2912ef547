"""nfresume on MooseFS: "hosts" with their own name, processes and mounts share two FUSE mounts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from nfresume.storage import emptying
from tests.conftest import FIXTURES, PROJECT, until
from tests.shared import contract
from tests.shared.conftest import HERE, PATIENCE, environment


class Host:
    """A host: its own host name, pids and mounts. It sees the file system at `place`."""

    def __init__(self, name: str, mount: Path, place: Path) -> None:
        self._name = name
        self._mount = mount
        self._place = place

    def start(self, script: str) -> subprocess.Popen[str]:
        inside = (f"hostname {self._name}; mount --bind {self._mount} {self._place}\n{script}")
        return subprocess.Popen(
            ["unshare", "--uts", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-euc",
             inside], text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def ok(self, script: str) -> str:
        child = self.start(script)
        out, _ = child.communicate(timeout=PATIENCE)
        assert child.returncode == 0, f"{script}\nended with {child.returncode}:\n{out}"
        return out


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The path of the shared file system on every host."""
    made = tmp_path / "efs"
    made.mkdir()
    return made


@pytest.fixture
def hosts(moosefs: Path, place: Path) -> list[Host]:
    """Three hosts, two of which share a mount."""
    return [Host("alpha", moosefs / "h1", place), Host("beta", moosefs / "h2", place),
            Host("gamma", moosefs / "h1", place)]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    made = tmp_path / "launch"
    for name in ("fail-late", "slow"):
        shutil.copytree(FIXTURES / name, made / name)
    return made


def shown(here: Path, name: str) -> Any:
    return json.loads((here / name).read_text())


@pytest.mark.long
def test_the_contract(moosefs: Path):
    """Removal, scan and publishing behave on MooseFS as on a local disk."""
    env = {**os.environ, **contract.ENVIRONMENT}
    done = subprocess.run(contract.command(moosefs / "h1/contract"), cwd=PROJECT, env=env, text=True,
                          capture_output=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


@pytest.mark.long
def test_files_are_not_emptied(moosefs: Path):
    """MooseFS has no sparse files: what is emptied would be stored as before, so lean is refused."""
    assert emptying.refusal(moosefs / "h1") == "the file system has no sparse files"


@pytest.mark.long
def test_a_life_on_three_hosts(hosts: list[Host], place: Path, here: Path, postgresql_url: str):
    """An execution is launched on one host, relaunched on another, deleted on a third."""
    alpha, beta, gamma = hosts
    env = environment(f"{place}/root-{here.parent.name}", postgresql_url, NFRESUME_ACCOUNT="mfs-life")
    alpha.ok(f"""{env} cd {here}
        nfresume launch --storage-expiration-hours 5 fail-late --outdir {place}/results && exit 1
        nfresume launch --storage-expiration-hours 5 --retain slim fail-late --outdir {place}/other && exit 1
        nfresume list --json > listed""")
    deleted, kept = (e["id"] for e in shown(here, "listed"))
    beta.ok(f"""{env} cd {here}
        sed -i s/gc_contnet/gc_content/ fail-late/main.nf
        nfresume relaunch {kept}; nfresume measure --json > measured
        nfresume show {kept} --json > relaunched; cat {place}/results/report.csv > report""")
    relaunched = shown(here, "relaunched")
    assert relaunched["attempts"][1]["tasks"]["cached"] == relaunched["attempts"][0]["tasks"]["succeeded"] > 0
    assert (relaunched["state"], relaunched["work_dir"]["state"]) == ("SUCCEEDED", "DELETED")
    assert (here / "report").read_text().startswith("sample,bases,gc_content")
    assert [m["id"] for m in shown(here, "measured")] == [deleted]
    gamma.ok(f"""{env} cd {here}
        nfresume delete {deleted} --yes; nfresume show {deleted} --json > deleted
        ls -A {place}/root-*/.trash > trash""")
    assert shown(here, "deleted")["work_dir"]["state"] == "DELETED"
    assert (here / "trash").read_text().strip() == ""


@pytest.mark.long
def test_a_master_that_is_killed(hosts: list[Host], moosefs: Path, place: Path, here: Path,
                                 postgresql_url: str):
    """The metadata server dies during a run: everything waits until it is back, and nothing is lost."""
    env = environment(f"{place}/root-{here.parent.name}", postgresql_url, NFRESUME_ACCOUNT="mfs-master")
    child = hosts[0].start(f"""{env} cd {here}
        nfresume launch slow --seconds 3 --outdir {place}/slow > ran 2>&1
        nfresume show slow --json > shown""")
    control = {**os.environ, "MOOSEFS_NAME": moosefs.name}
    try:
        until(lambda: "process >" in (here / "ran").read_text() if (here / "ran").exists() else False, 60)
        subprocess.run([str(HERE / "moosefs.sh"), "kill-master"], env=control, check=True)
        time.sleep(2)  # long enough for the clients to notice the outage
        subprocess.run([str(HERE / "moosefs.sh"), "start-master"], env=control, check=True,
                       capture_output=True)
        out, _ = child.communicate(timeout=120)
    finally:
        child.kill()
    assert child.returncode == 0, out + (here / "ran").read_text()
    ended = shown(here, "shown")
    assert (ended["state"], ended["work_dir"]["state"]) == ("SUCCEEDED", "DELETED")


@pytest.mark.long
def test_a_host_that_dies_with_the_lease(hosts: list[Host], place: Path, here: Path, postgresql_url: str):
    """No other host touches the work dir of a run whose host died; that host settles it when it is back."""
    alpha, beta, _ = hosts
    env = environment(f"{place}/root-{here.parent.name}", postgresql_url, NFRESUME_ACCOUNT="mfs-lease",
                      NFRESUME_LEASE_SECONDS="2")
    child = alpha.start(f"""{env} cd {here}
        nfresume launch --detach --storage-expiration-hours 1 slow --seconds 600 > id
        until nfresume logs $(cat id) | grep -q 'process >'; do sleep .2; done; touch running; sleep 600""")
    until((here / "running").exists, 60, "the run has begun")
    execution = (here / "id").read_text().strip()
    psutil.Process(child.pid).children()[0].kill()  # the first process of that host; its end kills the others
    child.wait()
    beta.ok(f"""{env} cd {here}; sleep 2
        nfresume sweep > swept || true
        nfresume relaunch {execution} 2> refused && exit 1
        nfresume show {execution} --json > lost""")
    assert "may still run there" in (here / "swept").read_text()
    assert shown(here, "lost")["work_dir"]["state"] == "ACTIVE"
    alpha.ok(f"""{env} cd {here}; nfresume sweep > settled
        nfresume relaunch {execution} --seconds 0
        nfresume show {execution} --json > relaunched""")
    assert "settled as FAILED" in (here / "settled").read_text()
    assert shown(here, "relaunched")["state"] == "SUCCEEDED"


@pytest.mark.long
def test_the_task_cache_of_two_hosts(hosts: list[Host], place: Path, here: Path, postgresql_url: str):
    """Two hosts share cached results; equal calls at once run once; a relaunch works on another host."""
    shutil.copy(PROJECT / "tests/workflows/cached.py", here)
    shutil.copy(PROJECT / "tests/workflows/arithmetic.py", here)
    alpha, beta, _ = hosts
    env = environment(f"{place}/root-{here.parent.name}", postgresql_url, NFRESUME_ACCOUNT="mfs-tasks")
    ran = here / "ran.txt"
    alpha.ok(f"{env} cd {here}; nfresume launch cached.py:spoilt > first")
    beta.ok(f"{env} cd {here}; nfresume launch cached.py:spoilt > second")
    assert (here / "first").read_text() == (here / "second").read_text() == '"whole"\n'
    assert ran.read_text() == "write whole\n"
    both = [host.start(f"{env} cd {here}; nfresume launch cached.py:once") for host in (alpha, beta)]
    assert ["1\n" in child.communicate(timeout=PATIENCE)[0] for child in both] == [True, True]
    assert ran.read_text().count("slow 1") == 1
    alpha.ok(f"""{env} cd {here}
        nfresume launch --storage-expiration-hours 5 arithmetic.py:one_fails && exit 1
        nfresume list --json > listed""")
    beta.ok(f"""{env} cd {here}
        sed -i 's/    raise ValueError/    return 7\\n    raise ValueError/' arithmetic.py
        nfresume relaunch {shown(here, "listed")[0]["id"]} > answer""")
    assert (here / "answer").read_text() == "42\n"
    assert ran.read_text().count("add 1+5") == 1


BIG = """
params.mb = 8
process SMALL { output: path 'a'; script: 'echo 1 > a' }
process BIG { input: path a; output: path 'b'; script: "head -c ${params.mb}000000 /dev/urandom > b" }
workflow { BIG(SMALL()) }
"""


def limit(moosefs: Path, folder: str, size: str) -> str:
    """A shell command that sets a hard quota on a folder."""
    return f"nsenter --net=/run/netns/{moosefs.name} mfssetquota -L {size} {folder} > /dev/null"


@pytest.mark.long
def test_a_quota(hosts: list[Host], moosefs: Path, place: Path, here: Path, postgresql_url: str):
    """Case 30, EDQUOT: the error names the quota although statvfs shows space; a larger quota helps."""
    (here / "big.nf").write_text(BIG)
    folder = f"{place}/quota-{here.parent.name}"
    env = environment(f"{folder}/root", postgresql_url, NFRESUME_ACCOUNT="mfs-quota")
    hosts[0].ok(f"""{env} cd {here}; mkdir {folder}; {limit(moosefs, folder, "3M")}
        nfresume launch --storage-expiration-hours 5 big.nf && exit 1
        nfresume show big --json > failed
        {limit(moosefs, folder, "1")}
        nfresume launch --storage-expiration-hours 5 big.nf 2> told && exit 1
        nfresume list --json > listed
        {limit(moosefs, folder, "30M")}
        nfresume relaunch $(cut -d'"' -f4 failed | grep -m1 ^big-); nfresume list --json > relaunched""")
    failed = shown(here, "failed")
    assert failed["attempts"][0]["error"] == "no space left: head: write error: Disk quota exceeded"
    assert failed["work_dir"]["state"] == "RETAINED"
    assert "Disk quota exceeded" in (here / "told").read_text()
    refused = shown(here, "listed")[0]  # settled at once, not after its lease has run out
    assert (refused["state"], refused["work_dir"]["state"]) == ("FAILED", "RETAINED")
    ended = {e["id"]: e for e in shown(here, "relaunched")}[failed["id"]]
    assert (ended["state"], ended["work_dir"]["state"]) == ("SUCCEEDED", "DELETED")
