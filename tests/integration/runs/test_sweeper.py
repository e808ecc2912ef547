"""A sweep is many independent lines: no execution holds up or spoils another."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from nfresume import settings
from nfresume.domain.executions import TaskCounts
from nfresume.domain.workdirs import WorkDirState
from nfresume.retained import deletion, places
from nfresume.runs import lost, sweeper
from nfresume.storage import Root
from nfresume.store import Store, clock, queries, removals, schema, transitions
from nfresume.store.transitions import NewAttempt, NewExecution, Owner
from nfresume.system import processes
from tests.conftest import privileged, until
from tests.outcomes import CLAIMANT, kept


@dataclass
class Kept:
    """A root with failed executions whose work dirs are retained."""

    store: Store
    conf: settings.Settings
    root: Root
    launch_dir: Path

    def failed(self, name: str, *, hours: float | None = 0.0, files: int = 3, account: str = "team") -> None:
        folder = self.root.execution(account, name)
        folder.provision(1)
        task = folder.work / "ab/cdef"
        task.mkdir(parents=True)
        for number in range(files):
            (task / str(number)).touch()
        with self.store.begin() as tx:
            new = NewExecution(name, account, self.root.id, str(folder.work), "main.nf", str(self.launch_dir),
                               str(uuid.uuid4()), 1.0, "test", False)
            transitions.launch(tx, new, NewAttempt("main.nf", (), False, None, None), "me")
            lease = transitions.claim(tx, name, Owner(self.conf.host, processes.boot_id()), 30)
            expires = None if hours is None else tx.now + timedelta(hours=hours)
            transitions.settle(tx, lease, kept(expires), TaskCounts(), "me", CLAIMANT)
            removals.measured(tx, name, bytes=files, disk_bytes=files, metered_bytes=files, files=files,
                              directories=2, partial=False)

    def state(self, name: str) -> WorkDirState:
        with self.store.begin(write=False) as tx:
            return queries.get(tx, name).work_dir.state

    def sweep(self, **kw) -> dict[str, sweeper.SweepLine]:
        return {line.execution.id: line for line in sweeper.sweep(self.store, self.conf, **kw)}


def founded(base: Path, **more: str) -> tuple[Root, dict[str, str], settings.Settings, Store]:
    """A root and a database in a folder, with the settings and the environment that name them."""
    root = Root.mark(base / "root")
    env = {"NFRESUME_CONFIG": str(base / "c.toml"), "NFRESUME_ROOT": str(root.path),
           "NFRESUME_DATABASE_URL": f"sqlite:///{base / 'db/state.db'}", "NFRESUME_ACCOUNT": "team",
           "NFRESUME_PRICE_PER_GB_MONTH": "0.3", **more}
    (base / "c.toml").touch()
    conf = settings.load(env)
    store = Store.open(conf.database_url)
    with store.begin() as tx:
        transitions.register_root(tx, root.id, str(root.path), root.inode)
    return root, env, conf, store


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kept]:
    (tmp_path / "launch").mkdir()
    root, _, conf, store = founded(tmp_path)
    yield Kept(store, conf, root, tmp_path / "launch")
    store.close()


def test_small_ones_beside_a_large_one(site: Kept):
    """A removal that takes long holds up no other: 40 small work dirs are gone while it goes on."""
    site.failed("large", files=3000)
    small = [f"small{n}" for n in range(40)]
    for name in small:
        site.failed(name)
    slow = replace(site.conf, delete_per_second=400.0)
    stop = threading.Event()
    sweep = threading.Thread(target=sweeper.sweep, args=(site.store, slow), kwargs={"stop": stop})
    sweep.start()
    until(lambda: all(site.state(name) is WorkDirState.DELETED for name in small), 30, "the small ones")
    assert site.state("large") is WorkDirState.DELETING
    stop.set()
    sweep.join()
    assert site.sweep()["large"].done.startswith("deleted")


def test_the_small_ones_begin_first(site: Kept):
    """Sixty small work dirs that are due have begun before a large one, whether its size is known or not.

    Eight lines are worked on side by side, so at most seven others are still to go when it begins.
    """
    for name, files in (("large", 400), ("unmeasured", 400)):
        site.failed(name, files=files)
    with site.store.begin() as tx:
        unmeasured = schema.work_dirs.c.execution_id == "unmeasured"
        tx.conn.execute(schema.work_dirs.update().where(unmeasured).values(files=None, measured_at=None))
    small = [f"small{n}" for n in range(60)]
    for name in small:
        site.failed(name)
    site.sweep(thorough=False)
    with site.store.begin(write=False) as tx:
        rows = tx.conn.execute(schema.events.select().order_by(schema.events.c.id)).all()
    removed = [row.execution_id for row in rows if row.name == "removed"]
    assert sorted(removed) == sorted([*small, "large", "unmeasured"])
    for name in ("large", "unmeasured"):
        begun = next(at for at, row in enumerate(rows) if (row.execution_id, row.name) == (name, "expire"))
        gone = [row.execution_id for row in rows[:begun] if row.name == "removed"]
        assert len(set(small) - set(gone)) < sweeper.SIDE_BY_SIDE, name


def test_an_idle_sweep_asks_the_database_once(site: Kept):
    """With nothing to do, a sweep makes one transaction that only reads, of seven statements at most."""
    site.failed("later", hours=5.0)
    site.sweep(thorough=False)
    begun: list[object] = []
    statements: list[str] = []
    engine = site.store._engine
    sa.event.listen(engine, "begin", begun.append)
    sa.event.listen(engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    assert site.sweep(thorough=False) == {}
    assert len(begun) == 1
    asked = [each for each in statements if not each.startswith("BEGIN")]
    assert all(each.startswith("SELECT") for each in asked)
    assert len(asked) <= 7, asked


def test_one_broken_line_stops_no_other(site: Kept, caplog: pytest.LogCaptureFixture):
    """A row that cannot be read as it should, and a folder that is not one, stay with their lines."""
    for name in ("broken", "fine", "odd", "last"):
        site.failed(name)
    with site.store.begin() as tx:
        tx.conn.exec_driver_sql("UPDATE work_dirs SET removal = '[1]' WHERE execution_id = 'broken'")
        tx.conn.exec_driver_sql("UPDATE executions SET account = '../other' WHERE id = 'odd'")
    with pytest.raises(TypeError), site.store.begin(write=False) as tx:
        queries.get(tx, "broken")
    lines = site.sweep()
    assert "broken" not in lines
    assert "execution broken cannot be read" in caplog.text
    assert lines["fine"].done.startswith("deleted")
    assert lines["last"].done.startswith("deleted")
    assert "odd" in lines
    assert lines["odd"].done.startswith(("kept", "not everything")) or lines["odd"].error
    assert (site.launch_dir.parent / "root/team/odd/work").exists()


def test_a_root_that_is_away(site: Kept):
    """While the root is not there nothing is begun, and nothing waits longer afterwards."""
    site.failed("run-a1")
    away = site.root.path.rename(site.root.path.with_name("away"))
    assert "does not exist" in site.sweep()["run-a1"].error
    assert site.state("run-a1") is WorkDirState.RETAINED
    away.rename(site.root.path)
    assert site.sweep()["run-a1"].done.startswith("deleted")


def test_what_is_held_waits(site: Kept):
    """A held work dir is not looked at by each sweep, and a blocked removal is not tried by each."""
    site.failed("held")
    unknown = site.root.execution("team", "held").attempt(2)
    unknown.mkdir()
    (unknown / "request.json").write_text("{}")
    assert site.sweep()["held"].done.startswith("kept: its folder has an attempt")
    for _ in range(3):
        assert site.sweep()["held"].action == "keep"
        assert "held" not in site.sweep(thorough=False)
    with site.store.begin(write=False) as tx:
        assert [e.name for e in queries.events_of(tx, "held")].count("hold") == 1


def test_a_claim_of_a_dead_process(site: Kept):
    """What a killed process was deleting is continued at once; of a living one nothing is taken."""
    site.failed("run-a1")
    code = ("import sys; from nfresume import settings; from nfresume.store import Store, removals\n"
            "from nfresume.retained import deletion\n"
            "with Store.open(sys.argv[1]).begin() as tx:\n"
            "    removals.expire(tx, 'run-a1', 1, 'x', deletion.claimant())\n"
            "print('claimed', flush=True); sys.stdin.read()")
    other = subprocess.Popen([sys.executable, "-c", code, site.conf.database_url], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "claimed\n"
    assert site.sweep()["run-a1"].done == "another process is deleting it"
    other.kill()
    other.wait()
    assert site.sweep()["run-a1"].done.startswith("deleted")


def test_two_sweeps_of_many(site: Kept):
    """Two sweeps in two processes share the work; each work dir is deleted once."""
    for number in range(30):
        site.failed(f"run{number}", files=40)
    both = [threading.Thread(target=site.sweep) for _ in range(2)]
    for sweep in both:
        sweep.start()
    for sweep in both:
        sweep.join()
    with site.store.begin(write=False) as tx:
        for number in range(30):
            names = [e.name for e in queries.events_of(tx, f"run{number}")]
            assert (names.count("expire"), names.count("removed")) == (1, 1), names


def test_only_a_little(site: Kept):
    """After a settlement the first few of one's own account go; others, and what is not due, stay."""
    for number in range(sweeper.A_LITTLE + 3):
        site.failed(f"due{number}")
    site.failed("theirs", account="other")
    site.failed("later", hours=5.0)
    lines = sweeper.sweep_a_little(site.store, site.conf, threading.Event())
    assert len(lines) == sweeper.A_LITTLE
    assert all(line.done.startswith("deleted") for line in lines)
    assert (site.state("theirs"), site.state("later")) == (WorkDirState.RETAINED, WorkDirState.RETAINED)


_AS_NOBODY = """
import os, sys
from nfresume import settings
from nfresume.store import Store
from nfresume.runs import sweeper
from nfresume.retained import task_caches
conf = settings.load(dict(pair.split("=", 1) for pair in sys.argv[1:]))
store = Store.open(conf.database_url)
os.setgroups([]); os.setgid(65534); os.setuid(65534)
for line in sweeper.sweep(store, conf):
    print(line.action, line.done, line.error)
"""


@pytest.mark.skipif(not privileged(), reason="needs root, to be another user")
def test_a_results_folder_that_may_not_be_entered(tmp_path: Path):
    """A server of another user cannot see into a 0700 home: what was published there is not gone."""
    base = Path("/dev/shm") / f"nfresume-{os.getpid()}-home"
    home, theirs = base / "home", base / "launch"
    for folder in (home / "results", theirs):
        folder.mkdir(parents=True)
    try:
        root, env, conf, store = founded(base)
        site = Kept(store, conf, root, theirs)
        site.failed("run-a1")
        folder = places.folder_of(store, queries_get(store, "run-a1"))
        (home / "results/a").symlink_to(folder.work / "ab/cdef/0")
        (folder.attempt(1) / "nextflow.log").write_text(
            "Nov-26 12:00:00.000 [PublishDir-1] TRACE nextflow.processor.PublishDir - publishing file: "
            f"{folder.work}/ab/cdef/0 -[SYMLINK]-> {home}/results/a\n")
        store.close()
        subprocess.run(["chown", "-R", "65534:65534", str(base)], check=True)
        subprocess.run(["chown", "-R", "0:0", str(home)], check=True)
        home.chmod(0o700)
        done = subprocess.run([sys.executable, "-c", _AS_NOBODY, *(f"{k}={v}" for k, v in env.items())],
                              text=True, capture_output=True)
        assert "delete kept: " in done.stdout, done.stderr
        assert "Permission denied" in done.stdout
        assert (home / "results/a").exists()
    finally:
        subprocess.run(["rm", "-rf", str(base)], check=True)


def queries_get(store: Store, name: str):
    with store.begin(write=False) as tx:
        return queries.get(tx, name)


def test_records_that_somebody_removed(site: Kept):
    """Without the records of an attempt nobody knows what it published: as long as there is a work dir, it is
    held. Sites purge what was not read for weeks."""
    for name in ("purged", "gone"):
        site.failed(name)
        shutil.rmtree(site.root.path / f"team/{name}/attempts")
    shutil.rmtree(site.root.path / "team/gone/work")
    lines = site.sweep()
    assert "its records are gone" in lines["purged"].done
    assert site.state("purged") is WorkDirState.RETAINED
    assert site.state("gone") is WorkDirState.DELETED


def test_a_long_settlement_keeps_its_lease(site: Kept):
    """A thread renews the lease whatever the supervisor does: nobody takes over while it secures results."""
    folder = site.root.execution("team", "long")
    folder.provision(1)
    with site.store.begin() as tx:
        new = NewExecution("long", "team", site.root.id, str(folder.work), "main.nf", str(site.launch_dir),
                           str(uuid.uuid4()), 1.0, "test", False)
        transitions.launch(tx, new, NewAttempt("main.nf", (), False, None, None), "me")
        lease = transitions.claim(tx, "long", Owner("h", "b"), 0.6)

    def renew() -> None:
        with site.store.begin() as tx:
            transitions.renew(tx, lease, 0.6, TaskCounts())

    from nfresume.system.renewal import Renewal

    end = time.monotonic() + 2.0
    with Renewal(renew, 0.1) as renewal:
        while time.monotonic() < end:  # busy, as with a hundred thousand files
            sum(range(20_000))
            renewal.check()
            assert lost.find(site.store, site.conf) == []
    short = replace(site.conf, lease_seconds=0.6)
    until(lambda: lost.find(site.store, short), 10, "lost once nobody renews it")
    assert deletion.CLAIM_SECONDS > 10 * deletion.RENEWAL_SECONDS


_SWEEP_AS = """
import os, sys
from nfresume import settings
from nfresume.store import Store
from nfresume.runs import sweeper
from nfresume.retained import environments, old_records, task_caches
uid = int(sys.argv[1])
conf = settings.load(dict(pair.split("=", 1) for pair in sys.argv[2:]))
store = Store.open(conf.database_url)
os.setgroups([]); os.setgid(uid); os.setuid(uid); os.umask(0o077)
for line in sweeper.sweep(store, conf, notify=print):
    print(line.execution.id, line.action, line.reason, line.done, line.error)
"""

_DELETE_AS = """
import os, sys
from nfresume import settings
from nfresume.service.verbs import Service
conf = settings.load(dict(pair.split("=", 1) for pair in sys.argv[2:]) | {"NFRESUME_ACCOUNT": "ann"})
service = Service(conf)
os.setgroups([]); os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]))
try:
    service.delete(service.get("run-a1"))
except Exception as e:
    print(f"{type(e).__name__}: {e.message}")
"""


def test_a_dry_run_knows_that_the_clock_is_ahead(site: Kept):
    """What a sweep would keep because the clock may be wrong, a dry run keeps; it notes nothing itself."""
    site.failed("run-a1")
    up = clock.uptime()

    def notes() -> list[tuple[str, float]]:
        with site.store.begin(write=False) as tx:
            return [(row.boot, row.uptime) for row in tx.conn.execute(schema.clocks.select())]

    with site.store.begin() as tx:  # an hour of the clock, in a second of the machine
        tx.conn.execute(schema.clocks.insert().values(
            boot=up.boot, seen_at=tx.now - timedelta(hours=1), uptime=up.seconds - 1, held_until=None))
    before = notes()
    [planned] = sweeper.sweep(site.store, site.conf, dry_run=True)
    assert notes() == before
    [done] = sweeper.sweep(site.store, site.conf)
    assert (planned.action, done.action) == ("keep", "keep")
    assert planned.reason.startswith("the clock went ahead to ")


@pytest.mark.skipif(not privileged(), reason="needs root, for mounts")
def test_a_root_that_is_read_only(site: Kept):
    """No user's sweep can do it: it is told as what it is, and done once the root can be written again."""
    site.failed("run-a1")
    root = str(site.root.path)
    os.chown(site.root.path / "team/run-a1", 65534, 65534)
    subprocess.run(["mount", "--bind", root, root], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", root], check=True)
        [line] = sweeper.sweep(site.store, site.conf)
    finally:
        subprocess.run(["umount", root], check=True)
    assert "Read-only file system" in line.done
    with site.store.begin() as tx:
        tx.conn.execute(schema.work_dirs.update().values(look_again_at=tx.now))
    sweeper.sweep(site.store, site.conf)
    assert site.state("run-a1") is WorkDirState.DELETED


@pytest.mark.skipif(not privileged(), reason="needs root, to be two users")
@pytest.mark.parametrize(("proc", "later"), [("", 0), ("mount -t proc -o hidepid=2 proc /proc", 0), ("", 1)])
def test_processes_of_another_user(proc: str, later: int):
    """A lost run of which another user's processes may live is left alone, also where /proc hides these.

    A leader that started later than the head has only its number.
    """
    base = Path("/dev/shm") / f"nfresume-{os.getpid()}-others"
    ann, bob = 1_000_000 + 2 * os.getpid(), 1_000_001 + 2 * os.getpid()
    (base / "root").mkdir(parents=True)
    task = subprocess.Popen(["sleep", "600"], user=ann, group=ann, extra_groups=[], start_new_session=True)
    try:
        root, env, conf, store = founded(base)
        folder = root.execution("team", "run-1")
        folder.provision(1)
        head = {"pid": task.pid, "start_ticks": (processes.start_ticks(task.pid) or 0) - later,
                "shim": task.pid, "boot_id": processes.boot_id()}
        (folder.attempt(1) / "head.json").write_text(json.dumps(head))
        with store.begin() as tx:
            new = NewExecution("run-1", "team", root.id, str(folder.work), "main.nf", str(base),
                               str(uuid.uuid4()), 0.0, "test", False)
            transitions.launch(tx, new, NewAttempt("main.nf", (), False, None, None), "me")
            transitions.claim(tx, "run-1", Owner(conf.host, processes.boot_id()), -60)
        store.close()
        subprocess.run(["chmod", "-R", "a+rwX", str(base)], check=True)

        def sweep_as_bob() -> str:
            words = [sys.executable, "-c", _SWEEP_AS, str(bob), *(f"{k}={v}" for k, v in env.items())]
            done = subprocess.run(["unshare", "-m", "bash", "-c", f'{proc or ":"}; exec "$@"', "-", *words],
                                  text=True, capture_output=True)
            assert done.returncode == 0, done.stderr
            return done.stdout

        if not later:
            assert "run-1 keep its processes are of another user" in sweep_as_bob()
            assert folder.work.is_dir()
            task.kill()
            task.wait()
        assert "settled as FAILED" in sweep_as_bob()
        assert not folder.work.exists()
    finally:
        task.kill()
        subprocess.run(["rm", "-rf", str(base)], check=True)


@pytest.mark.skipif(not privileged(), reason="needs root, to be two users")
def test_a_sweep_leaves_what_other_users_own(tmp_path: Path):
    """What a user may not remove is not begun: it stays as it is, and its owner's sweep removes all of it.

    Old records of one user expire also where the folders of another one cannot be looked into.
    """
    base = Path("/dev/shm") / f"nfresume-{os.getpid()}-two"
    ann, bob = 1_000_000 + 2 * os.getpid(), 1_000_001 + 2 * os.getpid()
    try:
        (base / "root").mkdir(parents=True)
        (base / "root").chmod(0o777)
        root, env, conf, store = founded(base, NFRESUME_ACCOUNT="zoe", NFRESUME_KEEP_RECORDS_DAYS="1e-9")
        site = Kept(store, conf, root, base)
        site.failed("run-a1", account="ann")
        site.failed("run-z1", account="zoe")
        for account, user in (("ann", ann), ("zoe", bob)):
            subprocess.run(["chown", "-R", f"{user}:{user}", str(root.path / account)], check=True)
        (root.path / "ann").chmod(0o700)
        subprocess.run(["chmod", "-R", "a+rwX", str(base / "db")], check=True)

        def sweep_as(user: int) -> str:
            words = [sys.executable, "-c", _SWEEP_AS, str(user), *(f"{k}={v}" for k, v in env.items())]
            done = subprocess.run(words, text=True, capture_output=True)
            assert done.returncode == 0, done.stderr
            return done.stdout

        told = sweep_as(bob)
        assert f"run-a1 keep this user may not see {root.path}/ann/run-a1" in told, told
        assert (site.state("run-a1"), site.state("run-z1")) == (WorkDirState.RETAINED, WorkDirState.DELETED)
        sweep_as(bob)
        assert not (root.path / "zoe/run-z1").exists()  # its records, too
        (root.path / "ann").chmod(0o755)
        assert f"run-a1 keep this user may not change {root.path}/ann/run-a1" in sweep_as(bob)
        assert list((root.path / ".trash").iterdir()) == []
        delete = [sys.executable, "-c", _DELETE_AS, str(bob), *(f"{k}={v}" for k, v in env.items())]
        told = subprocess.run(delete, text=True, capture_output=True).stdout
        assert "RootUnusable: this user may not change" in told
        assert site.state("run-a1") is WorkDirState.RETAINED
        sweep_as(ann)
        assert site.state("run-a1") is WorkDirState.DELETED
        assert not (root.path / "ann/run-a1/work").exists()
        store.close()
    finally:
        subprocess.run(["rm", "-rf", str(base)], check=True)
