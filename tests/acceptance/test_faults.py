"""Faults, with real Nextflow. The numbers of cases are those of docs/reliability.md."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from nfresume.runs.verdict import exit_code
from nfresume.storage import Root
from nfresume.storage.trash import to_trash
from nfresume.store import Store, schema
from nfresume.system import processes
from tests.acceptance.conftest import run_plain
from tests.acceptance.test_life import fix
from tests.conftest import BOUND, Done, Site, until
from tests.integration.storage.test_removal import set_immutable

pytestmark = pytest.mark.slow
IS_ROOT = os.geteuid() == 0
LEASE = {"NFRESUME_LEASE_SECONDS": "1"}


def in_test(*values: str) -> list[Any]:
    """Parameters of a test that `make test` runs."""
    return list(values)


def in_proof(*values: str) -> list[Any]:
    """Parameters of a test that only `make proof` runs."""
    return [pytest.param(value, marks=pytest.mark.long) for value in values]


@pytest.fixture
def site(site: Site) -> Site:
    """A site where an attempt is lost when its lease was not renewed for a second."""
    site.env.update(LEASE)
    return site


def attempt_dir(e: dict, number: int = 1) -> Path:
    return Path(e["work_dir"]["path"]).parent / "attempts" / str(number)


def sweep_until(site: Site, *states: str, execution: str = "", seconds: float = 40) -> dict:
    """Sweep again and again, until execution and work dir are in these states; returns `show --json`."""
    def swept() -> dict | None:
        site.run("sweep")
        e = site.show(execution)
        return e if {e["state"], e["work_dir"]["state"]} <= set(states) else None

    return until(swept, seconds, what=f"{states}", every=0.5)


def reused(relaunched: Done) -> tuple[int, int]:
    """The numbers of tasks that a relaunch reused and reran, from its output."""
    found = re.search(r"(\d+) tasks? reused(?: \(.*?\))?, (\d+) rerun", relaunched.err)
    assert found, relaunched.err
    return int(found[1]), int(found[2])


def history_rows(e: dict) -> list[str]:
    return (Path(e["work_dir"]["path"]).parent / "cache/history").read_text().splitlines()


def kill_all(site: Site) -> None:
    """Kill all processes of this site, as a power cut would."""
    def kill() -> bool:
        for process in (left := site.processes()):  # including those that were started meanwhile
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        return not left

    until(kill)


@pytest.mark.long
def test_crash_after_intent(site: Site):
    """Case 1: a launch dies before it starts a supervisor: a sweep settles it; --from-scratch runs it."""
    crashed = site.run("launch", str(site.pipeline("scratch")), "--storage-expiration-hours", "1",
                       NFRESUME_CRASH_AT="launched")
    assert crashed.code == -signal.SIGKILL
    assert site.show()["state"] == "QUEUED"
    e = sweep_until(site, "FAILED", "RETAINED")
    assert e["attempts"][0]["error"] == "its supervisor never started"
    refused = site.run("relaunch", e["id"])
    assert (refused.code, "--from-scratch" in refused.err) == (80, True)
    site.ok("relaunch", e["id"], "--from-scratch")
    assert (site.launch_dir / "results/sorted.txt").exists()


def test_a_killed_terminal_changes_nothing(site: Site):
    """An execution goes on when the command line that launched it is killed."""
    crashed = site.run("launch", str(site.pipeline("scratch")), NFRESUME_CRASH_AT="started")
    assert crashed.code == -signal.SIGKILL
    assert site.ok("wait", site.show()["id"], "--json").json()["state"] == "SUCCEEDED"


def test_crash_between_claim_and_spawn(site: Site):
    """Case 1: a supervisor dies before the spawn: a sweep settles it as failed and keeps its work dir."""
    site.run("launch", "--detach", str(site.pipeline("scratch")), "--storage-expiration-hours", "1",
             NFRESUME_CRASH_AT="claimed")
    e = sweep_until(site, "FAILED", "RETAINED")
    assert "lost" in e["attempts"][0]["error"]
    site.ok("relaunch", e["id"], "--from-scratch")


@pytest.mark.parametrize("point", [*in_test("spawned", "results-half-materialised"),
                                   *in_proof("head-ended", "results-materialised")])
def test_supervisor_dies_before_it_settles(site: Site, point: str):
    """Cases 2 to 5: Nextflow runs once, its true exit status is found, and the results are complete."""
    pipeline = site.pipeline("fail-late")
    fix(pipeline)
    site.run("launch", "--detach", str(pipeline), NFRESUME_CRASH_AT=point)
    e = sweep_until(site, "SUCCEEDED", "DELETED")
    assert e["attempts"][0]["exit_code"] == 0
    assert len(e["attempts"]) == 1
    results = site.launch_dir / "results"
    assert (results / "report.csv").read_text().startswith("sample,bases,gc_content\nbrain,")
    assert len(list((results / "per-sample").iterdir())) == 3
    assert not any(p.is_symlink() for p in results.rglob("*"))
    assert [v["name"] for v in e["events"]].count("claim") == 1


@pytest.mark.parametrize("point", in_test("trashed") + in_proof("settled", "half-removed", "emptied"))
def test_supervisor_dies_while_it_deletes(site: Site, point: str):
    """Cases 6 to 8: the next sweep finishes the deletion; a relaunch is refused meanwhile."""
    site.run("launch", "--detach", str(site.pipeline("scratch")), NFRESUME_CRASH_AT=point)
    e = until(lambda: (x := site.show())["state"] == "SUCCEEDED" and not site.supervisors() and x)
    assert e["work_dir"]["state"] == "DELETING"
    assert site.run("relaunch", e["id"]).code == 81
    e = sweep_until(site, "SUCCEEDED", "DELETED")
    assert os.listdir(site.root / ".trash") == []
    assert sorted(os.listdir(Path(e["work_dir"]["path"]).parent)) == ["attempts"]
    assert (site.launch_dir / "results/sorted.txt").read_text().startswith("1\n2\n")


@pytest.mark.parametrize("point", in_test("deleting") + in_proof("results-materialised", "secured"))
def test_sweeper_dies(site: Site, point: str):
    """Cases 5 and 6 for a sweep: the next one finishes what a killed one began."""
    site.run("launch", str(site.pipeline("fail-late")), "--storage-expiration-hours", "0.0001")
    until(lambda: "delete" in site.run("sweep", "--dry-run").out)
    assert site.run("sweep", NFRESUME_CRASH_AT=point).code == -signal.SIGKILL
    e = sweep_until(site, "FAILED", "DELETED")
    assert e["work_dir"]["reason"] == "expired"
    assert len(list((site.launch_dir / "results/per-sample").iterdir())) == 3


@pytest.mark.parametrize("point", [*in_test("trashed"),
                                   *in_proof("deleting", "secured", "half-removed", "emptied")])
def test_a_sweeper_sleeps_past_its_claim(site: Site, point: str):
    """Cases 14 and 55: another sweep finishes the removal; when the first wakes, it changes nothing."""
    site.run("launch", str(site.pipeline("fail-late")), "--storage-expiration-hours", "0.0001")
    until(lambda: "delete" in site.run("sweep", "--dry-run").out)
    sweeper = site.start("sweep", NFRESUME_CRASH_AT=f"{point}:STOP")
    until(lambda: psutil.Process(sweeper.pid).status() == psutil.STATUS_STOPPED)
    with contextlib.closing(sqlite3.connect(site.base / "state.db")) as db, db:
        db.execute("UPDATE work_dirs SET claimed_until = '2020-01-01 00:00:00.000000'")
    sweep_until(site, "FAILED", "DELETED")
    sweeper.send_signal(signal.SIGCONT)
    _, err = sweeper.communicate(timeout=30)
    assert (sweeper.returncode, "Traceback" in err) == (0, False), err
    e = site.show()
    assert [v["name"] for v in e["events"]].count("removed") == 1
    assert os.listdir(site.root / ".trash") == []
    assert len(list((site.launch_dir / "results/per-sample").iterdir())) == 3


@pytest.mark.long
def test_a_sweeper_sleeps_while_it_is_relaunched(site: Site):
    """Cases 11 and 14: a sweeper sleeps before the point of no return; meanwhile another one holds the work
    dir, and it is relaunched: when the first wakes, it deletes nothing."""
    pipeline = site.pipeline("fail-late")
    site.run("launch", str(pipeline), "--storage-expiration-hours", "0.0001")
    until(lambda: "delete" in site.run("sweep", "--dry-run").out)
    sweeper = site.start("sweep", NFRESUME_CRASH_AT="results-materialised:STOP")
    until(lambda: psutil.Process(sweeper.pid).status() == psutil.STATUS_STOPPED)
    e = site.show()
    assert site.run("relaunch", e["id"]).code == 81  # it is being deleted
    with contextlib.closing(sqlite3.connect(site.base / "state.db")) as db, db:
        db.execute("UPDATE work_dirs SET claimed_until = '2020-01-01 00:00:00.000000'")
    attempt_dir(e, 2).mkdir()  # what this database does not know holds the work dir
    assert "kept: its folder has an attempt" in site.ok("sweep").out
    attempt_dir(e, 2).rmdir()
    assert site.run("relaunch", e["id"], "--storage-expiration-hours", "5").code == 1
    sweeper.send_signal(signal.SIGCONT)
    sweeper.communicate(timeout=30)
    e = site.show()
    assert (e["state"], e["work_dir"]["state"], len(e["attempts"])) == ("FAILED", "RETAINED", 2)
    fix(pipeline)
    assert reused(site.ok("relaunch", e["id"])) == (7, 1)


def test_lost_supervisor_is_replaced(site: Site):
    """Case 3: a running Nextflow is adopted, no second one is started, and its true exit status is stored."""
    site.ok("launch", "--detach", str(site.pipeline("slow")), "--seconds", "6")
    until(lambda: site.show()["attempts"][0]["tasks"]["submitted"] or None)
    (supervisor,) = site.supervisors()
    supervisor.kill()
    until(lambda: "adopt" in site.run("sweep").out)
    e = sweep_until(site, "SUCCEEDED", "DELETED")
    assert len(e["attempts"]) == 1
    assert [v["name"] for v in e["events"]] == [
        "launch", "claim", "take_over", "succeed", "results_secured", "removed"]
    assert (site.launch_dir / "results/slow.1").read_text() == "begin\nend\n"


@pytest.mark.long
def test_supervisor_sleeps_past_its_lease(site: Site):
    """Case 14: a supervisor that is replaced while it sleeps notices it, and does nothing twice."""
    site.ok("launch", "--detach", str(site.pipeline("slow")), "--seconds", "5")
    until(lambda: site.show()["attempts"][0]["tasks"]["submitted"] or None)
    (old,) = site.supervisors()
    old.suspend()
    until(lambda: "adopt" in site.run("sweep").out)
    until(lambda: len(site.show()["events"]) == 3)
    old.resume()
    e = sweep_until(site, "SUCCEEDED", "DELETED")
    assert [v["name"] for v in e["events"]] == [
        "launch", "claim", "take_over", "succeed", "results_secured", "removed"]
    until(lambda: not old.is_running() or old.status() == psutil.STATUS_ZOMBIE)
    assert "another supervisor owns" in (attempt_dir(e) / "supervisor.log").read_text()


def asleep(site: Site) -> psutil.Process:
    """Wait for the supervisor that has stopped at its crash point."""
    return until(lambda: next((p for p in site.supervisors() if p.status() == psutil.STATUS_STOPPED), None))


def wake(site: Site, sleeper: psutil.Process) -> None:
    """Resume the supervisor, and wait until it has noticed that it was replaced, and ended."""
    sleeper.resume()
    until(lambda: not sleeper.is_running() or sleeper.status() == psutil.STATUS_ZOMBIE, what="its end")


@pytest.mark.long
def test_a_supervisor_sleeps_just_before_the_spawn(site: Site):
    """Case 14: a supervisor that wakes during a relaunch starts no second Nextflow."""
    site.ok("launch", "--detach", str(site.pipeline("slow")), "--storage-expiration-hours", "1",
            NFRESUME_CRASH_AT="spawning:STOP")
    sleeper = asleep(site)
    e = sweep_until(site, "FAILED", "RETAINED")
    assert "lost" in e["attempts"][0]["error"]
    site.ok("relaunch", e["id"], "--from-scratch", "--detach", "--seconds", "3")
    until(lambda: site.show()["attempts"][1]["tasks"]["submitted"] or None)
    wake(site, sleeper)
    e = sweep_until(site, "SUCCEEDED", "DELETED")
    assert json.loads((attempt_dir(e, 1) / "head.json").read_text()) == {}  # closed: no head was started
    assert not (attempt_dir(e, 1) / "nextflow.log").exists()
    assert (site.launch_dir / "results/slow.1").read_text() == "begin\nend\n"


@pytest.mark.long
@pytest.mark.parametrize("point", in_test("followed") + in_proof("head-ended"))
def test_a_supervisor_sleeps_after_the_end(site: Site, point: str):
    """Case 14: a supervisor that wakes during a relaunch ends nothing of it, and settles nothing."""
    slow = str(site.pipeline("slow"))
    site.ok("launch", "--detach", slow, "--storage-expiration-hours", "1", "--retain", "slim",
            NFRESUME_CRASH_AT=f"{point}:STOP")
    until(lambda: site.show()["attempts"][0]["tasks"]["submitted"] or None)
    os.kill(json.loads((attempt_dir(site.show()) / "head.json").read_text())["pid"], signal.SIGKILL)
    sleeper = asleep(site)
    e = sweep_until(site, "FAILED", "RETAINED")
    site.ok("relaunch", e["id"], "--detach", "--seconds", "3")
    until(lambda: site.show()["attempts"][1]["tasks"]["submitted"] or None)
    wake(site, sleeper)
    e = sweep_until(site, "SUCCEEDED", "DELETED")
    assert [a["state"] for a in e["attempts"]] == ["FAILED", "SUCCEEDED"]
    assert (site.launch_dir / "results/slow.1").read_text() == "begin\nend\n"


def test_host_reboot(site: Site):
    """Case 9: after a reboot no process can be alive: the attempt is settled and kept for its full hours."""
    site.ok("launch", "--detach", str(site.pipeline("slow")), "--storage-expiration-hours", "3")
    until(lambda: site.show()["attempts"][0]["tasks"]["submitted"] or None)
    kill_all(site)
    with sqlite3.connect(site.base / "state.db") as db:
        db.execute("UPDATE attempts SET boot_id = 'another boot'")
    e = sweep_until(site, "FAILED", "RETAINED")
    assert "lost" in e["attempts"][0]["error"]
    kept = datetime.fromisoformat(e["work_dir"]["expires_at"]) - datetime.fromisoformat(
        e["attempts"][0]["ended_at"])
    assert kept == timedelta(hours=3)


def test_lost_on_another_host(site: Site):
    """An attempt that may still run on another host is not settled, deleted or relaunched from this one."""
    site.ok("launch", "--detach", str(site.pipeline("slow")), "--storage-expiration-hours", "1")
    until(lambda: site.show()["attempts"][0]["tasks"]["submitted"] or None)
    for process in site.supervisors():
        process.kill()
    with sqlite3.connect(site.base / "state.db") as db:
        db.execute("UPDATE attempts SET host = 'elsewhere', boot_id = 'another'")
    until(lambda: "may still run there" in site.run("sweep").out)
    e = site.show()
    assert e["state"] == "RUNNING"
    assert site.run("relaunch", e["id"]).code == 80
    assert site.run("delete", e["id"], "--yes").code == 80


@pytest.mark.long
def test_a_run_of_another_database(site: Site):
    """Case 108: what runs is neither adopted nor released by another database; it ends as if nothing were."""
    site.ok("launch", "--detach", str(site.pipeline("slow")))
    e = until(lambda: (x := site.show())["attempts"][0]["tasks"]["submitted"] and x)
    other = {"NFRESUME_DATABASE_URL": f"sqlite:///{site.base / 'other.db'}"}
    for word in ("--adopt", "--release"):
        done = site.run("doctor", word, e["id"], **other)
        assert done.code == 80, done.err
        assert "run on this host" in done.err
    assert site.ok("list", "--json", **other).json() == []
    assert site.show()["state"] == "RUNNING"
    site.ok("cancel", e["id"])


@pytest.mark.long
def test_a_host_that_never_comes_back(site: Site):
    """Only a person can say that a host is gone; then its run is settled, and goes on from here."""
    site.ok("launch", "--detach", str(site.pipeline("slow")), "--storage-expiration-hours", "1")
    until(lambda: site.show()["attempts"][0]["tasks"]["submitted"] or None)
    e = site.show()
    early = site.run("settle", e["id"], "--host-is-gone")
    assert (early.code, "not lost" in early.err) == (80, True)
    kill_all(site)
    with contextlib.closing(sqlite3.connect(site.base / "state.db")) as db, db:
        db.execute("UPDATE attempts SET host = 'elsewhere', boot_id = 'another'")
    until(lambda: "--host-is-gone" in site.run("sweep").out)
    asked = site.run("settle", e["id"])
    assert (asked.code, "--host-is-gone" in asked.err) == (64, True)
    site.ok("settle", e["id"], "--host-is-gone")
    e = site.show()
    assert (e["state"], e["work_dir"]["state"]) == ("FAILED", "RETAINED")
    assert e["attempts"][0]["error"] == "its host elsewhere is gone"
    assert "host_is_gone" in [v["name"] for v in e["events"]]
    site.ok("relaunch", e["id"], "--seconds", "1")
    assert site.show()["state"] == "SUCCEEDED"


def test_a_container_with_another_name(site: Site):
    """A run whose container was replaced by one with another name on this machine is settled by a sweep."""
    site.ok("launch", "--detach", str(site.pipeline("slow")), "--storage-expiration-hours", "1")
    until(lambda: site.show()["attempts"][0]["tasks"]["submitted"] or None)
    kill_all(site)
    site.env["NFRESUME_HOST"] = "the-next-container"
    if not processes.sees_all():  # in a container itself: only the name tells
        until(lambda: "--host-is-gone" in site.run("sweep").out)
        site.env["NFRESUME_HOST"] = os.uname().nodename
    sweep_until(site, "FAILED", "RETAINED")


def test_pid_reuse(site: Site):
    """Case 10: a process that has the dead head's pid gets no signal."""
    site.ok("launch", "--detach", str(site.pipeline("slow")), "--storage-expiration-hours", "1")
    until(lambda: site.show()["attempts"][0]["tasks"]["submitted"] or None)
    e = site.show()
    kill_all(site)
    with subprocess.Popen(["sleep", "60"]) as unrelated:
        head = json.loads((attempt_dir(e) / "head.json").read_text())
        head.update(pid=unrelated.pid, shim=unrelated.pid)
        (attempt_dir(e) / "head.json").write_text(json.dumps(head))
        sweep_until(site, "FAILED", "CANCELLED", "RETAINED")
        assert unrelated.poll() is None
        unrelated.kill()


@pytest.mark.parametrize("trap", in_proof("true", "false"))
def test_ctrl_c(site: Site, trap: str):
    """Cases 15 and 17: Ctrl-C cancels as with `nextflow run`; tasks that ignore SIGTERM are killed."""
    child = site.start("launch", str(site.pipeline("slow")), "--trap", trap, "--n", "2",
                       "--storage-expiration-hours", "1")
    until(lambda: site.run("list", "--json").out.count("RUNNING") and
          len(list(site.root.glob("team/*/work/*/*/slow.*"))) == 2)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 1
    e = site.show()
    assert (e["state"], e["work_dir"]["state"]) == ("CANCELLED", "RETAINED")
    assert "cancelling" in err
    until(lambda: site.processes() == [], 15, "the end of all processes")
    relaunched = site.ok("relaunch", e["id"], "--seconds", "1")
    assert "1 task reused" in relaunched.err
    assert (site.launch_dir / "results/slow.2").read_text() == "begin\nend\n"


def test_cancel_from_elsewhere(site: Site):
    """`nfresume cancel` ends an execution that another terminal follows."""
    child = site.start("launch", str(site.pipeline("slow")), "--storage-expiration-hours", "1")
    until(lambda: site.run("list", "--json").out.count("RUNNING"))
    site.ok("cancel", site.show()["id"])
    child.communicate(timeout=30)
    assert child.returncode in (1, 143)
    assert site.show()["state"] == "CANCELLED"
    assert site.run("cancel", site.show()["id"]).code == 80


def test_serve_settles_what_was_lost(site: Site):
    """A sweep of the server settles a lost attempt whose Nextflow succeeded, and removes its work dir."""
    site.env["NFRESUME_LEASE_SECONDS"] = "1"
    execution = site.ok("launch", "--detach", str(site.pipeline("slow")), "--seconds", "1").out.strip()
    until(lambda: site.supervisors())
    until(lambda: (attempt_dir(site.show(execution)) / "head.json").exists())
    for process in site.supervisors():
        process.kill()
    place = attempt_dir(site.show(execution))
    until(lambda: exit_code(place) is not None, 60, "the shim has written the exit status")
    until(lambda: site.processes() == [], 30, "the end of the shim")
    serving = site.start("serve", "--no-web", NFRESUME_SWEEP_SECONDS="0.5")
    until(lambda: site.show(execution)["work_dir"]["state"] == "DELETED", 30, "settled and removed")
    serving.terminate()
    _, err = serving.communicate(timeout=20)
    assert serving.returncode == 0, err
    assert "settled as SUCCEEDED" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("victims", in_test("head") + in_proof("all but tasks"))
def test_orphans_of_a_killed_head(site: Site, victims: str):
    """Case 16: the orphans of a killed head are stopped; a relaunch sets their task dirs aside."""
    site.ok("launch", "--detach", str(site.pipeline("slow")), "--seconds", "60", "--trap", "true",
            "--storage-expiration-hours", "1")
    (begun,) = until(lambda: list(site.root.glob("team/*/work/*/*/slow.1")))
    e = site.show()
    head = json.loads((attempt_dir(e) / "head.json").read_text())
    if victims == "head":
        os.kill(head["pid"], signal.SIGKILL)
    else:
        for process in site.supervisors():
            process.kill()
        os.kill(head["shim"], signal.SIGKILL)
        os.kill(head["pid"], signal.SIGKILL)
    e = sweep_until(site, "FAILED", "RETAINED")
    until(lambda: site.processes() == [], 15, "the end of all processes")
    assert begun.read_text() == "begin\n"
    site.ok("relaunch", e["id"], "--seconds", "1", "--trap", "false")
    assert (site.launch_dir / "results/slow.1").read_text() == "begin\nend\n"
    e = site.show()
    assert e["attempts"][1]["tasks"]["cached"] == 1
    aside = [v for v in e["events"] if v["name"] == "set_aside"]
    assert aside[0]["detail"]["task_dirs"] == ["/".join(begun.parts[-3:-1])]


@pytest.mark.long
def test_an_orphan_that_will_not_leave(site: Site):
    """Case 16: a relaunch first kills a process of an earlier attempt, but not one of another execution."""
    pipeline = site.pipeline("fail-late")
    site.run("launch", str(pipeline), "--storage-expiration-hours", "1")
    e = site.show()
    orphan = subprocess.Popen(["bash", "-c", "trap '' TERM; while :; do sleep 1; done"],
                              env={**os.environ, "NFRESUME_RUN": f"{e['id']}-1"})
    unrelated = subprocess.Popen(["sleep", "60"], env={**os.environ, "NFRESUME_RUN": f"{e['id']}x-1"})
    fix(pipeline)
    site.ok("relaunch", e["id"])
    assert orphan.wait(5) == -signal.SIGKILL
    assert unrelated.poll() is None
    unrelated.kill()
    unrelated.wait()


def test_stored_paths_are_not_trusted(site: Site):
    """Case 29: only the execution's own folder is removed, whatever path the database has."""
    site.run("launch", str(site.pipeline("fail-late")), "--storage-expiration-hours", "0.0001")
    e = site.show()
    precious = site.base / "precious"
    precious.mkdir()
    (precious / "data").touch()
    with sqlite3.connect(site.base / "state.db") as db:
        db.execute("UPDATE work_dirs SET path = ?", (str(precious),))
    sweep_until(site, "FAILED", "DELETED")
    assert (precious / "data").exists()
    assert sorted(os.listdir(Path(e["work_dir"]["path"]).parent)) == ["attempts"]
    root = Root.open(site.root)
    for account, name in (("..", "x"), ("team", ".."), ("", "x"), ("/", "x"), ("team", "/"), (".trash", "x")):
        with pytest.raises(OSError, match="not the name"):
            to_trash(root, account, name)


@pytest.mark.long
@pytest.mark.skipif(not IS_ROOT, reason="needs root, to mount a file system")
def test_an_unmounted_root(site: Site):
    """Case 32: while the root is not mounted, nothing is deleted or marked deleted; later a sweep does it."""
    place = site.base / "mnt"
    place.mkdir()
    image = ["mount", "-t", "tmpfs", "none", str(place)]
    subprocess.run(image, check=True)
    site.env["NFRESUME_ROOT"] = str(place / "root")
    try:
        site.run("launch", str(site.pipeline("fail-late")), "--storage-expiration-hours", "0.0001")
        subprocess.run(["mount", "--bind", str(site.launch_dir), str(place)], check=True)  # hides the root
        until(lambda: site.run("sweep").code == 74)  # once it is due
        assert site.show()["work_dir"]["state"] == "RETAINED"
        refused = site.run("launch", str(site.launch_dir / "fail-late"))
        assert (refused.code, "mounted" in refused.err) == (73, True)
        assert not (site.launch_dir / "root").exists()
        subprocess.run(["umount", str(place)], check=True)
        sweep_until(site, "FAILED", "DELETED")
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)


@pytest.mark.long
def test_lock_held_by_another(site: Site, plain_nextflow: Path):
    """Case 40: another Nextflow has locked the session: the attempt is BUSY, its work dir and LOCK stay."""
    pipeline = site.pipeline("fail-late")
    site.run("launch", str(pipeline), "--storage-expiration-hours", "1")
    e = site.show()
    cache = Path(e["work_dir"]["path"]).parent / "cache"
    session = e["attempts"][0]["session_id"]
    fix(pipeline)
    other = subprocess.Popen(
        [str(plain_nextflow), "run", str(site.pipeline("slow")), "-resume", session, "--seconds", "30",
         "-ansi-log", "false"],
        cwd=site.base, env={**site.env, "NXF_CACHE_DIR": str(cache)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        said = []
        for line in other.stdout:
            said.append(line)
            if "Submitted process" in line:
                break
        else:
            raise AssertionError("".join(said))
        busy = site.run("relaunch", e["id"])
        assert busy.code == 1
        e = site.show()
        assert e["attempts"][1]["error"].startswith("BUSY")
        assert e["work_dir"]["state"] == "RETAINED"
        assert (cache / "cache" / session / "db/LOCK").exists()
    finally:
        for process in psutil.Process(other.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        other.kill()
        other.wait()
    site.ok("relaunch", e["id"])


@pytest.mark.long
def test_missing_cache(site: Site):
    """Case 41: a relaunch without a cache, which would rerun everything, needs --from-scratch."""
    pipeline = site.pipeline("fail-late")
    site.run("launch", str(pipeline), "--storage-expiration-hours", "1")
    e = site.show()
    cache = Path(e["work_dir"]["path"]).parent / "cache"
    cache.rename(site.base / "cache")
    refused = site.run("relaunch", e["id"])
    assert (refused.code, "--from-scratch" in refused.err) == (80, True)
    assert site.show()["state"] == "FAILED"
    fix(pipeline)
    done = site.ok("relaunch", e["id"], "--from-scratch")
    assert "0 tasks reused" in done.err
    assert (site.launch_dir / "results/report.csv").exists()


@pytest.mark.long
def test_another_nextflow_version(site: Site):
    """Case 42: a relaunch with another Nextflow version says so, and reuses what had finished."""
    pipeline = site.pipeline("fail-late")
    site.run("launch", str(pipeline), "--storage-expiration-hours", "1")
    e = site.show()["id"]
    with sqlite3.connect(site.base / "state.db") as db:
        db.execute("UPDATE attempts SET nextflow_version = '24.04.1'")
    fix(pipeline)
    told = site.ok("relaunch", e).err
    assert "the last attempt ran on Nextflow 24.04.1, this one runs on 24.10.5" in told
    assert site.show(e)["attempts"][1]["tasks"]["cached"] > 0


def test_database_away_when_a_run_ends(site: Site):
    """Case 50: if the database is locked when a run ends, the outcome waits on disk."""
    site.ok("launch", "--detach", str(site.pipeline("slow")), "--seconds", "3")
    until(lambda: site.show()["attempts"][0]["tasks"]["submitted"] or None)
    e = site.show()
    database = site.base / "state.db"
    with sqlite3.connect(database, isolation_level=None) as db:
        db.execute("BEGIN EXCLUSIVE")  # no other process can write now
        until(lambda: (attempt_dir(e) / "exit_status.json").exists())
        db.execute("COMMIT")
    assert sweep_until(site, "SUCCEEDED", "DELETED")["attempts"][0]["exit_code"] == 0


BAD_INPUT = [
    (["launch", "absent.nf"], 66, "no script 'absent.nf'"),
    (["launch"], 64, "no pipeline given"),
    (["launch", "empty"], 66, "holds no main.nf"),
    (["launch", "main.nf", "-w", "s3://bucket/x"], 64, "below nfresume's root"),
    (["launch", "main.nf", "--x", "a\nb"], 64, "line break"),
    (["launch", "main.nf", "-params-file", "absent.json"], 66, "absent.json"),
    (["launch", "main.nf", "--storage-expiration-hours", "soon"], 64, "soon"),
    (["launch", "main.nf", "--storage-expiration-hours", "-1"], 64, "-1"),
    (["launch", "main.nf", "--storage-expiration-hours", "nan"], 64, "nan"),
    (["launch", "main.nf", "--storage-expiration-hours", "1e9"], 64, "1e9"),
    (["launch", "--metadata", "absent", "main.nf"], 66, "--metadata"),
    (["launch", "--metadata", "bad_metadata", "main.nf"], 65, "storage_expiration_hours"),
    (["launch", "--account", "../x", "main.nf"], 78, "account"),
    (["launch", "--root", "{launch_dir}/root", "main.nf"], 73, "inside the launch folder"),
    (["launch", "--root", "{base}/unmarked", "main.nf"], 73, "not marked"),
    (["launch", "--root", "{base}/no/such/place", "main.nf"], 73, "does not exist"),
    (["launch", "--nextflow", "{launch_dir}/main.nf", "main.nf"], 69, "not an executable"),
    (["launch", "main.nf", "--outdir", "{root}/results"], 64, "inside the root"),
    (["launch", "main.nf", "--outdir", "{root}"], 64, "inside the root"),
    (["launch", "main.nf", "--outdir", "{base}"], 64, "contains the root"),
    (["launch", "main.nf", "-params-file", "outdir.json"], 64, "inside the root"),
    (["launch", "main.nf", "-resume", "0f8d3a52-7e3d-4f7e-9a4e-2f1f6c1d2b3a"], 66, "session"),
    (["relaunch", "nope"], 66, "no execution"),
    (["relaunch"], 64, "ID"),
    (["show", "nope"], 66, "no execution"),
    (["show", "%"], 66, "no execution"),
    (["list", "--state", "odd"], 64, "odd"),
    (["nonsense"], 64, "nonsense"),
    (["show", "--nonsense", "x"], 64, "nonsense"),
]


@pytest.mark.parametrize(("words", "code", "said"), BAD_INPUT, ids=lambda v: " ".join(v)[:40] if
                         isinstance(v, list) else None)
def test_bad_input(site: Site, words: list[str], code: int, said: str):
    """Cases 38, 54, 63, 65: bad input is one line of error with its exit code, and starts nothing."""
    launch_dir = site.launch_dir
    (launch_dir / "main.nf").write_text("workflow { }")
    (launch_dir / "empty").mkdir()
    (site.base / "unmarked").mkdir()
    (launch_dir / "outdir.json").write_text(json.dumps({"outdir": f"{site.root}/team"}))
    (launch_dir / "bad_metadata").mkdir()
    (launch_dir / "bad_metadata/__init__.py").write_text(
        "from latch.types.metadata import *\nNextflowRuntimeResources(storage_expiration_hours=-5)\n")
    places = {"launch_dir": str(launch_dir), "base": str(site.base), "root": str(site.root)}
    done = site.run(*(w.format(**places) if "{" in w else w for w in words))
    assert done.code == code, done.err
    lines = done.err.splitlines()
    assert lines[0].startswith("nfresume: error: ")
    assert said in lines[0]
    assert len(lines) <= 2
    assert done.out == ""
    assert site.ok("list", "--json").json() == []
    until(lambda: site.processes() == [], 15, "the end of all processes")


def test_unwritable_root(site: Site):
    """A launch into a read-only root is refused before anything starts."""
    (site.launch_dir / "main.nf").write_text("workflow { }")
    Root.mark(site.root)
    site.root.chmod(0o500)
    if IS_ROOT:  # root ignores permissions: make the file system read-only
        subprocess.run(["mount", "--bind", str(site.root), str(site.root)], check=True)
        subprocess.run(["mount", "-o", "remount,ro,bind", str(site.root)], check=True)
    try:
        done = site.run("launch", "main.nf")
        assert (done.code, "not writable" in done.err) == (73, True)
    finally:
        if IS_ROOT:
            subprocess.run(["umount", str(site.root)], check=True)


def test_an_old_or_broken_nextflow(site: Site, plain_nextflow: Path):
    """A Nextflow that is too old, or a Java that cannot run it, is one line of error."""
    (site.launch_dir / "main.nf").write_text("workflow { }")
    for body, said in (
        ("echo '      version 23.10.1 build 5891'", "too old"),
        ("echo 'ERROR: Cannot find Java or it is a wrong version' >&2; exit 1", "wrong version"),
    ):
        fake = site.base / "nextflow"
        fake.write_text(f"#!/bin/sh\n{body}\n")
        fake.chmod(0o755)
        done = site.run("launch", "main.nf", NFRESUME_NEXTFLOW=str(fake))
        assert (done.code, said in done.err.splitlines()[0]) == (69, True), done.err
    for version, said in (("25.0.1", "too new"), ("1.8.0_402", "too old")):
        java = site.base / version / "bin/java"
        java.parent.mkdir(parents=True)
        java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025' >&2\n")
        java.chmod(0o755)
        done = site.run("launch", "main.nf", NFRESUME_JAVA_HOME=str(site.base / version))
        assert (done.code, said in done.err.splitlines()[0]) == (69, True), done.err


def test_no_network_for_the_engine(site: Site):
    """Without network `engine install` is one line of error, and leaves no incomplete folder."""
    home = site.base / "home"
    home.mkdir()
    done = site.run("engine", "install", HOME=str(home), XDG_CACHE_HOME=str(home / "cache"),
                    HTTPS_PROXY="http://127.0.0.1:1", HTTP_PROXY="http://127.0.0.1:1")
    assert done.code == 69, done.err
    assert "cannot download Nextflow" in done.err.splitlines()[-2]
    assert not [p for p in (home / "cache/nfresume/engine").iterdir() if p.is_dir()]


def test_a_params_file_keeps_dangerous_values(site: Site, plain_nextflow: Path):
    """Case 63: a value that looks like an option reaches the script through -params-file."""
    (site.launch_dir / "main.nf").write_text("params.x = ''\nworkflow { println \"x=[${params.x}]\" }")
    (site.launch_dir / "p.json").write_text(json.dumps({"x": "-resume\n-with-weblog"}))
    done = site.ok("launch", "main.nf", "-params-file", "p.json")
    assert "x=[-resume\n-with-weblog]" in done.out
    plain = run_plain(plain_nextflow, site.launch_dir, "main.nf", "-params-file", "p.json", env=site.env)
    assert "x=[-resume\n-with-weblog]" in plain.stdout


@pytest.mark.long
def test_a_lost_run_needs_no_sweep(site: Site):
    """After the supervisor was killed, the user can cancel or relaunch at once, without a sweep."""
    pipeline = str(site.pipeline("slow"))
    site.ok("launch", "--detach", pipeline, "--storage-expiration-hours", "1")
    until(lambda: site.show()["attempts"][0]["tasks"]["submitted"] or None)
    e = site.show()["id"]
    (supervisor,) = site.supervisors()
    supervisor.kill()
    site.ok("cancel", e)  # adopts the running Nextflow, and ends it
    assert site.show()["state"] == "CANCELLED"
    until(lambda: site.processes() == [], 15, "the end of all processes")
    site.start("relaunch", e, "--detach").wait()
    until(lambda: site.supervisors())
    kill_all(site)
    done = until(lambda: (d := site.run("relaunch", e, "--json", "--seconds", "1",
                                        "--storage-expiration-hours", "7")).code == 0 and d)
    document = done.json()
    assert (document["state"], document["storage_expiration_hours"]) == ("SUCCEEDED", 7)
    assert [a["state"] for a in document["attempts"]] == ["CANCELLED", "FAILED", "SUCCEEDED"]


@pytest.mark.long
def test_relaunch_from_another_folder(site: Site):
    """A relaunch finds the files of its options in the current folder; results go to the launch dir."""
    pipeline = site.pipeline("fail-late")
    site.run("launch", "fail-late", "--storage-expiration-hours", "1")
    fix(pipeline)
    elsewhere = site.base / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "p.json").write_text(json.dumps({"outdir": "other"}))
    site.ok("relaunch", site.show()["id"], "-params-file", "p.json", cwd=elsewhere)
    assert (site.launch_dir / "other/report.csv").exists()
    assert os.listdir(elsewhere) == ["p.json"]


@pytest.mark.long
def test_the_follower_replaces_a_killed_supervisor(site: Site):
    """The command line that follows a launch replaces a killed supervisor, without a sweep."""
    child = site.start("launch", str(site.pipeline("slow")), "--seconds", "4")
    until(lambda: site.supervisors() and site.show()["attempts"][0]["tasks"]["submitted"])
    for process in site.supervisors():
        process.kill()
    _, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    assert "work dir deleted (the run succeeded)" in err
    assert [v["name"] for v in site.show()["events"]] == [
        "launch", "claim", "take_over", "succeed", "results_secured", "removed"]


@pytest.mark.long
def test_the_launch_dir_is_gone(site: Site):
    """A relaunch is refused if the launch dir, to which relative paths belong, is gone."""
    place = site.base / "gone"
    place.mkdir()
    site.run("launch", str(site.pipeline("fail-late")), "--storage-expiration-hours", "1", cwd=place)
    place.rename(site.base / "moved")
    refused = site.run("relaunch", site.show()["id"])
    assert (refused.code, "is gone" in refused.err) == (66, True)


def test_tasks_that_hide(site: Site):
    """Cancel ends a task process without environment, and one in a session of its own."""
    (site.launch_dir / "main.nf").write_text("""
        process HIDE { script: "env -i sleep 771 & setsid sleep 772 & touch begun; sleep 60" }
        workflow { HIDE() }
    """)
    site.ok("launch", "--detach", "main.nf", "--storage-expiration-hours", "1")
    until(lambda: list(site.root.glob("team/*/work/*/*/begun")))
    site.ok("cancel", site.show()["id"])
    for hidden in ("sleep 771", "sleep 772"):
        assert subprocess.run(["pgrep", "-fx", hidden], capture_output=True).returncode == 1, hidden


@pytest.mark.skipif(not IS_ROOT, reason="needs root, for file attributes")
@pytest.mark.long
def test_a_removal_that_cannot_end(site: Site):
    """Case 26: an immutable file is named, and the work dir stays DELETING until it can be removed."""
    site.run("launch", str(site.pipeline("fail-late")), "--storage-expiration-hours", "1")
    e = site.show()
    stuck = next(Path(e["work_dir"]["path"]).glob("*/*/report.csv"))
    inode = stuck.stat().st_ino
    if not set_immutable(stuck, True):
        pytest.skip("this file system has no immutable flag")
    try:
        done = site.run("delete", e["id"], "--yes")
        assert (done.code, "report.csv: Operation not permitted" in done.err) == (74, True)
        assert site.show()["work_dir"]["state"] == "DELETING"
        stuck_dir = site.show()["work_dir"]
        assert stuck_dir["removal"]["obstacle"].startswith("1 thing cannot be removed: ")
        assert stuck_dir["reason"].startswith("deleted by ")
        assert "cannot be removed" in site.ok("show", e["id"]).out
        waits = site.ok("sweep").out  # it is tried again later, or when a person asks
        assert ("keep" in waits, "cannot be removed" in waits) == (True, True)
        assert site.run("delete", e["id"], "--yes").code == 74
    finally:
        moved = next(p for p in (site.root / ".trash").rglob("report.csv") if p.lstat().st_ino == inode)
        set_immutable(moved, False)
    site.ok("delete", e["id"], "--yes")
    gone = site.show()["work_dir"]
    assert (gone["state"], gone["removal"]["obstacle"]) == ("DELETED", None)
    assert gone["reason"].startswith("deleted by ")


@pytest.mark.long
def test_clicks_at_once(site: Site):
    """Case 12 with real Nextflow: of five relaunches at once one runs, and the others do not disturb it."""
    pipeline = str(site.pipeline("slow"))
    site.ok("launch", "--detach", pipeline, "--storage-expiration-hours", "1")
    until(lambda: site.show()["attempts"][0]["tasks"]["submitted"] or None)
    e = site.show()["id"]
    site.ok("cancel", e)
    clicks = [site.start("relaunch", e, "--seconds", "2") for _ in range(5)]
    codes = sorted((click.communicate(timeout=90), click.returncode)[1] for click in clicks)
    assert codes == [0, 80, 80, 80, 80]
    assert [a["state"] for a in site.show(e)["attempts"]] == ["CANCELLED", "SUCCEEDED"]
    assert (site.launch_dir / "results/slow.1").read_text() == "begin\nend\n"


HUNG = """
process ONE { output: path 'x'; script: 'echo 1 > x' }
workflow { ONE(); ONE.out.subscribe {  // in Nextflow's own name
  org.slf4j.LoggerFactory.getLogger('nextflow.Session').error('Unexpected thread exception')
  sleep(1000000000) } }
"""


@pytest.mark.long
def test_a_nextflow_that_hangs(site: Site):
    """Case 43: the watchdog ends a Nextflow that is silent after an error; a relaunch after a fix works."""
    (site.launch_dir / "hung.nf").write_text(HUNG)
    done = site.run("launch", "--storage-expiration-hours", "5", "hung.nf", NFRESUME_HANG_SECONDS="3")
    assert done.code != 0
    e = site.show()
    assert (e["state"], e["work_dir"]["state"]) == ("FAILED", "RETAINED")
    assert e["attempts"][0]["error"].startswith("Nextflow hung after ")
    until(lambda: not site.processes(), what="its processes to be gone")
    (site.launch_dir / "hung.nf").write_text(HUNG.replace("sleep(1000000000)", ""))
    assert "1 task reused" in site.ok("relaunch", e["id"]).err


def test_a_clock_that_jumps_ahead(site: Site):
    """Case 52: after the clock jumped ahead, what is due waits for a day, and a sweep says so."""
    site.pipeline("fail-late")
    site.run("launch", "--storage-expiration-hours", "5", "fail-late")
    site.ok("sweep")
    store = Store.open(site.env["NFRESUME_DATABASE_URL"])
    before = datetime.now(UTC) - timedelta(hours=6)  # by the uptime of the machine it is no time ago
    with store.begin() as tx:
        tx.conn.execute(schema.clocks.update().values(seen_at=before))
        tx.conn.execute(schema.work_dirs.update().values(expires_at=before + timedelta(hours=5)))
    swept = site.ok("sweep")
    assert "in case the clock is wrong" in swept.out + swept.err
    assert site.show()["work_dir"]["state"] == "RETAINED"
    with store.begin() as tx:
        tx.conn.execute(schema.clocks.update().values(held_until=tx.now))
    store.close()
    site.ok("sweep")
    assert site.show()["work_dir"]["state"] == "DELETED"


def test_files_that_cannot_be_read_for_a_while(site: Site):
    """A file server that gives errors while a run goes on ends no run."""
    site.prefix = BOUND
    site.pipeline("slow")
    site.ok("launch", "--detach", "slow", "--seconds", "20")
    attempt = attempt_dir(site.show())
    until((attempt / "nextflow.log").exists, what="the log")
    until(lambda: "process > SLOW" in (attempt / "nextflow.log").read_text(), what="the task")
    status = attempt / "exit_status.json"
    status.touch(0)
    log = attempt / "supervisor.log"
    until(lambda: "cannot be read now" in log.read_text(), what="the supervisor to notice")
    status.unlink()
    site.ok("wait", site.show()["id"])


@pytest.mark.long
def test_a_database_from_a_backup(site: Site):
    """Case 49: executions that a restored backup does not know are kept until adopted or released."""
    site.pipeline("fail-late")
    words = ("launch", "--storage-expiration-hours", "5", "fail-late")
    database = Path(site.env["NFRESUME_DATABASE_URL"].removeprefix("sqlite:///"))

    def copy(source: str, target: str) -> None:
        with contextlib.closing(sqlite3.connect(f"{database}{source}")) as old, contextlib.closing(
                sqlite3.connect(f"{database}{target}")) as new:
            old.backup(new)

    site.run(*words)
    known = site.show()["id"]
    copy("", ".backup")
    site.run("relaunch", known)  # an attempt that the backup does not know
    site.run(*words)
    site.run(*words)
    kept, old = (e["id"] for e in site.ok("list", "--json").json()[:2])
    copy(".backup", "")
    store = Store.open(site.env["NFRESUME_DATABASE_URL"])
    with store.begin() as tx:
        tx.conn.execute(schema.work_dirs.update().values(expires_at=tx.now))
    store.close()
    swept = site.ok("sweep").out
    assert "has an attempt that the database does not know" in swept
    for execution in (known, kept, old):
        assert (site.root / "team" / execution / "work").is_dir()
    told = site.run("doctor")
    assert (told.code, "2 executions on disk that this database does not know" in told.out) == (1, True)
    assert site.run("doctor", "--repair").code == 64
    assert site.run("doctor", "--adopt", "nobody-123456").code == 66
    before = {path: path.read_bytes() for path in (site.root / "team" / known / "attempts/2").iterdir()}
    refused = site.run("relaunch", known, "--from-scratch")
    assert (refused.code, f"nfresume doctor --adopt {known}" in refused.err) == (80, True)
    assert before == {path: path.read_bytes() for path in before}
    assert f"1 executions with attempts that this database does not know, left alone: {known}" in told.out
    site.ok("doctor", "--adopt", kept, "--adopt", known, "--release", old)
    assert [a["number"] for a in site.show(known)["attempts"]] == [1, 2]
    assert reused(site.run("relaunch", known)) == (7, 1)
    site.ok("doctor")
    assert site.show(old)["work_dir"]["state"] == "DELETED"
    adopted = site.show(kept)
    assert (adopted["state"], adopted["work_dir"]["state"], adopted["work_dir"]["expires_at"]) == (
        "FAILED", "RETAINED", None)
    fix(site.launch_dir / "fail-late")
    assert reused(site.ok("relaunch", kept)) == (7, 1)


def test_a_disk_from_a_backup(site: Site):
    """A work dir that was deleted, and is there again, is shown; a release deletes it, and results stay."""
    site.pipeline("fail-late")
    site.run("launch", "--storage-expiration-hours", "5", "fail-late", "--outdir", "results")
    known = site.show()["id"]
    folder = site.root / "team" / known
    shutil.copytree(folder, site.base / "backup", symlinks=True)
    site.ok("delete", known, "--yes")
    assert "knows every execution's folder" in site.ok("doctor").out
    shutil.rmtree(folder)
    shutil.copytree(site.base / "backup", folder, symlinks=True)
    before = {path: path.read_bytes() for path in (site.launch_dir / "results").rglob("*") if path.is_file()}
    told = site.run("doctor")
    assert told.code == 1
    assert f"1 work dirs that were deleted are there again, left alone: {known}" in told.out
    refused = site.run("doctor", "--adopt", known)
    assert (refused.code, f"nfresume doctor --release {known}" in refused.err) == (80, True)
    assert (folder / "work").is_dir()
    site.ok("doctor", "--release", known)
    assert sorted(os.listdir(folder)) == ["attempts"]
    assert os.listdir(site.root / ".trash") == []
    assert all(path.read_bytes() == data for path, data in before.items())
    assert [e["name"] for e in site.show(known)["events"]][-1] == "deleted_again"
