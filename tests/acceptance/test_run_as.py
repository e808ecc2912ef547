"""`run_as`: accounts run as operating system users, and the kernel keeps these apart. Needs root."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import sqlalchemy as sa

from nfresume import home
from nfresume.service.identity import Identity
from nfresume.store import Store
from tests.conftest import PROJECT, Site, privileged, until
from tests.serving import Running, log_in, serve

pytestmark = [
    pytest.mark.slow, pytest.mark.timeout(1800),
    pytest.mark.skipif(os.geteuid() != 0 or not privileged(), reason="only root may become other users"),
]
API = "/ga4gh/wes/v1"
#: Users without names, who are no other test's.
ALICE, BOB = 1_000_000 + 2 * os.getpid(), 1_000_001 + 2 * os.getpid()
PY = {"workflow_type": "PY", "workflow_type_version": "3"}
#: A workflow whose task tells what it can reach, and then fails or not.
SPY = '''
import ctypes, json, os, socket
from nfresume.tasks import small_task, workflow

def tried(look):
    try:
        return str(look())[:300]
    except OSError as e:
        return type(e).__name__

def above():
    pid, found = os.getppid(), []
    while pid > 1:
        found.append(pid)
        pid = int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1])
    return found

def of_process(pid, name):
    with open(f"/proc/{pid}/{name}", "rb") as file:
        return file.read()

def attached(pid):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(16, pid, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")
    return "attached"

@small_task
def spy(forbidden: list[str], server: int) -> str:
    found = {"ids": [os.getresuid(), os.getresgid(), os.getgroups()], "environment": sorted(os.environ),
             "home": os.environ["HOME"]}
    found["files"] = {path: tried(lambda: os.listdir(path) if os.path.isdir(path) else open(path).read())
                      for path in forbidden}
    supervisors = [pid for pid in above() if b"nfresume.runs.supervisor" in of_process(pid, "cmdline")]
    found["supervisors"] = len(supervisors)
    for pid in [*supervisors, server]:
        found[f"process {pid}"] = [tried(lambda: open(f"/proc/{pid}/{name}", "rb").read(1))
                                   for name in ("environ", "mem", "maps")] + [
            tried(lambda: os.listdir(f"/proc/{pid}/fd")), tried(lambda: attached(pid))]
    found["kill the server"] = tried(lambda: os.kill(server, 0))
    seen = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if b"postgresql://" in of_process(pid, "environ") + of_process(pid, "cmdline"):
                seen.append(pid)
        except OSError:
            continue
    found["database"] = seen
    return json.dumps(found)

@small_task
def last(found: str, fail: bool) -> str:
    if fail and not os.path.exists(os.path.expanduser("~/mended")):
        open(os.path.expanduser("~/mended"), "w").close()
        raise ValueError("the first time it fails")
    return found

@workflow
def look(forbidden: list[str], server: int, fail: bool = False) -> str:
    return last(found=spy(forbidden=forbidden, server=server), fail=fail)
'''


@dataclass
class Server:
    """A running server that is root, with accounts alice and bob."""

    site: Site
    running: Running
    tokens: dict[str, str]

    def ask(self, account: str, method: str, path: str, **words: Any) -> httpx.Response:
        return httpx.request(method, f"{self.running.url}{API}{path}", timeout=120,
                             headers={"Authorization": f"Bearer {self.tokens[account]}"}, **words)

    def launch(self, account: str, *, retain: str = "full", **params: Any) -> str:
        answer = self.ask(account, "POST", "/runs", data={
            **PY, "workflow_url": f"{self.site.base}/pipelines/spy.py:look",
            "workflow_params": json.dumps(params),
            "workflow_engine_parameters": json.dumps({"storage_expiration_hours": 1, "retain": retain})})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["run_id"])

    def ended(self, account: str, run: str) -> str:
        def state() -> str:
            now = self.ask(account, "GET", f"/runs/{run}/status").json()["state"]
            return "" if now in ("QUEUED", "RUNNING", "CANCELING") else now

        return str(until(state, 800, f"the end of {run}", every=1.0))

    def stdout(self, account: str, run: str) -> str:
        return self.ask(account, "GET", f"/runs/{run}/logs/stdout").text


def reachable() -> list[str]:
    """Words that start a program where every user reaches this Python: in a mount namespace, if need be."""
    base = Path(sys.base_prefix)
    hidden = next((p for p in reversed(base.parents) if not p.stat().st_mode & stat.S_IXOTH), None)
    if hidden is None:
        return []
    script = ('keep=$(mktemp -d) && mount --bind "$1" "$keep" && mount -t tmpfs -o mode=755 none "$2" && '
              'mkdir -p "$1" && mount --bind "$keep" "$1" && shift 2 && exec "$@"')
    return ["unshare", "--mount", "sh", "-c", script, "sh", str(base), str(hidden)]


def bounded() -> list[str]:
    """Words that start a program with the capabilities of deploy/run-as.conf, and no others."""
    names = re.search(r"CapabilityBoundingSet=(.+)", (PROJECT / "deploy/run-as.conf").read_text())
    assert names is not None
    wanted = ",".join(f"+{name.removeprefix('CAP_').lower()}" for name in names[1].split())
    return [*reachable(), "setpriv", f"--bounding-set=-all,{wanted}"]


@pytest.fixture
def open_site(site: Site, postgresql_database: str) -> Iterator[Site]:
    """A site in a folder that every user can enter, with PostgreSQL and two users."""
    base = Path(tempfile.mkdtemp(prefix="nfresume-run-as-", dir="/var/tmp"))
    base.chmod(0o755)
    for name in ("launch", "pipelines", "reads", "reads/alice", "reads/bob"):
        (base / name).mkdir()
    for name, uid in (("alice", ALICE), ("bob", BOB)):
        (base / "reads" / name / "reads.fastq").touch()
        os.chown(base / "reads" / name, uid, uid)
        (base / "reads" / name).chmod(0o700)
    shutil.copytree(home.engines(), base / "cache/nfresume/engine", ignore=shutil.ignore_patterns("*.jsa"))
    (base / "pipelines/spy.py").write_text(SPY)
    socket = Path(str(sa.make_url(postgresql_database).query["host"]))
    socket.chmod(0o755)
    site.base = base
    site.env |= {
        "NFRESUME_ROOT": str(base / "root"), "NFRESUME_DATABASE_URL": postgresql_database,
        "NFRESUME_CONFIG": str(base / "nfresume.toml"), "NFRESUME_WEB_PIPELINES": "any",
        "NFRESUME_ACCOUNT": "root", "NFRESUME_LEASE_SECONDS": "200", "NFRESUME_WEB_DATA": str(base / "reads"),
        "NFRESUME_RUN_AS": json.dumps({"alice": ALICE, "bob": BOB}), "XDG_CACHE_HOME": str(base / "cache"),
        "XDG_STATE_HOME": str(base / "state"), "XDG_DATA_HOME": str(base / "data"),
    }
    (base / "nfresume.toml").write_text('price_per_gb_month = 0.3\n')
    (base / "nfresume.toml").chmod(0o600)
    site.run("doctor", "--mark-root")
    yield site
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.uids().real in (ALICE, BOB):
                process.kill()
                process.wait(10)
    shutil.rmtree(base)


@pytest.fixture
def server(open_site: Site) -> Iterator[Server]:
    store = Store.open(open_site.env["NFRESUME_DATABASE_URL"])
    identity = Identity(store)
    tokens = {}
    for name in ("alice", "bob"):
        identity.add_user(name)
        tokens[name] = identity.create_token(name, "test", name, 1)
    store.close()
    with serve(open_site, under=bounded()) as running:
        yield Server(open_site, running, tokens)


def owners(folder: Path) -> set[int]:
    """The owners of everything below a folder."""
    return {os.lstat(Path(place) / name).st_uid for place, folders, names in os.walk(folder)
            for name in (*folders, *names)}


@pytest.mark.long
def test_what_a_task_can_reach(server: Server):
    """Everything of an account runs as its user. Its tasks read neither the server's settings, secrets and
    memory, nor their own supervisor's, nor anything of another account; and nobody finds the database.
    """
    base = server.site.base
    bobs = server.launch("bob", forbidden=[], server=server.running.pid)
    assert server.ended("bob", bobs) == "COMPLETE", server.stdout("bob", bobs)
    forbidden = ["/etc/shadow", *(str(base / name) for name in (
        "nfresume.toml", "root/bob", "launches/bob", f"root/.trash/.{BOB}", f"launches/.home-{BOB}"))]
    run = server.launch("alice", forbidden=forbidden, server=server.running.pid, fail=True)
    assert server.ended("alice", run) == "EXECUTOR_ERROR", server.stdout("alice", run)
    assert owners(base / "root/alice") == {ALICE}
    assert owners(base / "launches/alice") == {ALICE}
    assert server.ask("alice", "POST", f"/runs/{run}/relaunch", json={}).status_code == 200
    assert server.ended("alice", run) == "COMPLETE"
    found = json.loads(json.loads(server.stdout("alice", run)))
    assert found["ids"] == [[ALICE] * 3, [ALICE] * 3, [ALICE]]
    assert set(found["files"].values()) == {"PermissionError"}
    assert found["supervisors"] == 1
    assert found["database"] == []
    for name, tries in found.items():
        if name.startswith("process "):
            assert set(tries) <= {"PermissionError", "b''"}, (name, tries)  # the kernel shows empty maps
            assert tries[:2] == ["PermissionError"] * 2
    assert found["kill the server"] == "PermissionError"
    assert not [name for name in found["environment"] if name in (
        "NFRESUME_DATABASE_URL", "NFRESUME_RUN_AS", "NFRESUME_ROOT", "NFRESUME_WEB_PIPELINES")]
    assert owners(base / "root/alice") == {ALICE}
    until(lambda: not (base / f"root/alice/{run}/work").exists(), 120, "the removal of the work dir")
    assert os.listdir(base / f"root/.trash/.{ALICE}") == []


@pytest.mark.long
def test_pages_of_the_console(server: Server):
    """Each page of the console reads folders as the account's user; its form relaunches as this user."""
    run = server.launch("alice", retain="lean", forbidden=[], server=1, fail=True)
    assert server.ended("alice", run) == "EXECUTOR_ERROR", server.stdout("alice", run)
    report = server.site.run("costs", "--all-accounts", "--json")  # by root, of the files of each account
    assert (report.code, "Traceback" in report.err) == (0, False), report.err
    page = f"/a/alice/executions/{run}"
    with httpx.Client(base_url=server.running.url, timeout=120) as browser:
        with contextlib.closing(Store.open(server.site.env["NFRESUME_DATABASE_URL"])) as store:
            log_in(browser, f"/login?token={Identity(store).login_link('alice')}")
        tasks = browser.get(f"{page}/tasks")
        links = re.findall(rf'href="({page}/tasks/1/\d+)"', tasks.text)
        assert links, tasks.text
        sections = ("tasks", "timeline", "graph", "why", "log", "results", "storage", "history", "relaunch")
        shown_too = (f"{page}/{name}" for name in sections)
        for path in ("/a/alice/executions", "/a/alice/launch", "/a/alice/billing", page, *shown_too, *links):
            shown = browser.get(path)
            assert (shown.status_code, "cannot be read" in shown.text) == (200, False), (path, shown.text)
        csrf = re.findall(r'name="csrf" value="([^"]+)"', browser.get(f"{page}/relaunch").text)[0]
        reads = server.site.base / "reads"
        for name, status, said in (("alice", 200, "reads.fastq"), ("bob", 404, "Permission denied")):
            chosen = browser.post("/a/alice/launch", data={
                "csrf": csrf, "choose": "input", "open": str(reads / name)})
            assert (chosen.status_code, said in chosen.text) == (status, True), chosen.text
        sent = browser.post(f"{page}/relaunch", data={"csrf": csrf})
        assert sent.status_code == 303, sent.text
    assert server.ended("alice", run) == "COMPLETE"
    assert owners(server.site.base / "root/alice") == {ALICE}


PIPELINE = r"""
params.fail = true
process MAKE {
    publishDir params.outdir
    output: path 'ids.txt'
    script: 'id -u > ids.txt; test -O . && test -O \$HOME'
}
process READ {
    publishDir params.outdir
    input: path ids
    output: path 'read.txt'
    script: "cat $ids > read.txt; ${params.fail ? 'exit 3' : 'true'}"
}
workflow { READ(MAKE()) }
"""


@pytest.mark.long
def test_nextflow(server: Server):
    """Nextflow and its tasks run as the account's user: a failure, a relaunch, results, the removal."""
    base = server.site.base
    (base / "pipelines/main.nf").write_text(PIPELINE)
    answer = server.ask("alice", "POST", "/runs", data={
        "workflow_type": "NFL", "workflow_type_version": "DSL2",
        "workflow_url": f"{base}/pipelines/main.nf", "workflow_params": '{"outdir": "results"}',
        "workflow_engine_parameters": '{"storage_expiration_hours": 1}'})
    assert answer.status_code == 200, answer.text
    run = str(answer.json()["run_id"])
    assert server.ended("alice", run) == "EXECUTOR_ERROR", server.stdout("alice", run)
    assert owners(base / "root/alice") == {ALICE}
    again = server.ask("alice", "POST", f"/runs/{run}/relaunch", json={
        "workflow_params": {"fail": False, "outdir": "results"}})
    assert again.status_code == 200, again.text
    assert server.ended("alice", run) == "COMPLETE", server.stdout("alice", run)
    assert "Cached process > MAKE" in server.stdout("alice", run)
    until(lambda: not (base / f"root/alice/{run}/work").exists(), 120, "the removal of the work dir")
    found = {path.name: path.read_text() for path in base.glob("launches/alice/**/results/*.txt")}
    assert found == {"ids.txt": f"{ALICE}\n", "read.txt": f"{ALICE}\n"}
    assert owners(base / "launches/alice") == {ALICE}


@pytest.mark.long
def test_links_of_a_user_lead_nowhere(server: Server):
    """What a user puts in place of its folders is looked at, measured, secured and deleted as this user: no
    link shows anything of others, and nothing of others is deleted.
    """
    base = server.site.base
    bobs = server.launch("bob", forbidden=[], server=1, fail=True)
    alices = server.launch("alice", forbidden=[], server=1, fail=True)
    assert (server.ended("bob", bobs), server.ended("alice", alices)) == ("EXECUTOR_ERROR", "EXECUTOR_ERROR")
    own, other = base / f"root/alice/{alices}", base / f"root/bob/{bobs}"
    files = sorted(path.relative_to(other) for path in other.rglob("*") if path.is_file())
    for name in ("work", "cache"):
        shutil.rmtree(own / name)
        (own / name).symlink_to(other / name)
    log = own / "attempts/1/stdout.log"
    log.unlink(missing_ok=True)
    log.symlink_to(base / "nfresume.toml")
    assert server.ask("alice", "GET", f"/runs/{alices}/logs/stdout").status_code != 200
    shutil.rmtree(own / "attempts/1")
    (own / "attempts/1").symlink_to(other / "attempts/1")
    for path in ("/logs/stdout", "/logs/stderr", "/logs/nextflow", "/tasks", ""):
        answer = server.ask("alice", "GET", f"/runs/{alices}{path}")
        assert answer.status_code in (200, 404, 409), path
        assert bobs not in answer.text, path
    assert server.ask("alice", "DELETE", f"/runs/{alices}/work-dir").status_code in (202, 409, 503)
    server.site.run("sweep")
    assert sorted(path.relative_to(other) for path in other.rglob("*") if path.is_file()) == files
