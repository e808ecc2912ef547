"""Records expire some time after their work dir; attachments of web launches go with them, results never."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from nfresume import settings
from nfresume.domain.errors import InvalidSettings
from nfresume.retained import old_records
from nfresume.runs import sweeper
from nfresume.settings import Settings
from nfresume.storage import Root
from nfresume.store import Store, schema, transitions


class Site:
    """A root and a database with one execution, whose work dir was deleted `days` ago."""

    def __init__(self, base: Path) -> None:
        self.conf: Settings = settings.load({
            "NFRESUME_ROOT": str(base / "root"), "NFRESUME_DATABASE_URL": f"sqlite:///{base / 'state.db'}",
            "NFRESUME_ACCOUNT": "team", "NFRESUME_WEB_LAUNCHES": str(base / "launches"),
            "NFRESUME_KEEP_RECORDS_DAYS": "30"})
        self.store = Store.open(self.conf.database_url)
        self.root = Root.mark(self.conf.root)
        with self.store.begin() as tx:
            transitions.register_root(tx, self.root.id, str(self.root.path), self.root.inode)
        self.launch_dir = base / "launches/team/wf-1"
        self.launch_dir.mkdir(parents=True)

    def execution(self, execution_id: str, days: float, state: str = "DELETED") -> Path:
        """Its folder, with records of one attempt."""
        folder = self.root.execution("team", execution_id)
        with self.store.begin() as tx:
            transitions.launch(tx, transitions.NewExecution(
                id=execution_id, account="team", root_id=self.root.id, work_dir=str(folder.work),
                pipeline="m.nf", launch_dir=str(self.launch_dir), session_id=execution_id,
                storage_expiration_hours=0, storage_expiration_source="default", pinned=False),
                transitions.NewAttempt("m.nf", (), False, "/n", "24.10.5", "local"), "me")
            tx.conn.execute(sa.update(schema.executions).values(state="SUCCEEDED").where(
                schema.executions.c.id == execution_id))
            tx.conn.execute(sa.update(schema.work_dirs).values(
                state=state, deleted_at=tx.now - timedelta(days=days) if state == "DELETED" else None).where(
                schema.work_dirs.c.execution_id == execution_id))
        folder.begin_records(1, {"attached": []})
        (folder.attempt(1) / "nextflow.log").write_text("log")
        return folder.path

    def expire(self) -> list[str]:
        return sorted(old_records.expire(self.store, self.conf, self.root, threading.Event()))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.store.close()


def test_records_expire(site: Site):
    """After `keep_records_days` since the deletion of the work dir; the trash is empty afterwards."""
    old, young = site.execution("old-222222", 31), site.execution("young-222222", 29)
    kept = site.execution("kept-222222", 0, "RETAINED")
    (site.root.path / "team/unknown-222222/attempts").mkdir(parents=True)
    assert site.expire() == ["old-222222"]
    assert (old.exists(), young.exists(), kept.exists()) == (False, True, True)
    assert (site.root.path / "team/unknown-222222/attempts").exists()
    assert list((site.root.path / ".trash").iterdir()) == []
    assert site.expire() == []
    site.conf = replace(site.conf, keep_records_days=0)
    site.execution("older-222222", 9999)
    assert site.expire() == []


def test_never_while_the_work_dir_is_there(site: Site):
    """Whatever the database says: records of a work dir that is still on disk stay."""
    for name in ("work", "cache"):
        folder = site.execution(f"{name}-222222", 99)
        (folder / name).mkdir()
    assert site.expire() == []
    assert len(list((site.root.path / "team").iterdir())) == 2


def test_one_that_cannot_be_read_stops_no_other(site: Site):
    """The records of an execution whose row cannot be read stay; the others go."""
    kept = site.execution("broken-222222", 31)
    site.execution("old-222222", 31)
    with site.store.begin() as tx:
        tx.conn.execute(sa.text("UPDATE work_dirs SET removal = '[1]' WHERE execution_id = 'broken-222222'"))
    assert site.expire() == ["old-222222"]
    assert kept.exists()


def test_what_cannot_be_removed_is_told(site: Site):
    """Here the trash is no folder: each execution is told, and nothing is lost."""
    for name in ("one-222222", "two-222222"):
        site.execution(name, 31)
    (site.root.path / ".trash").rmdir()
    (site.root.path / ".trash").touch()
    told: list[str] = []
    assert old_records.expire(site.store, site.conf, site.root, threading.Event(), told.append) == []
    assert [line.partition(" cannot")[0] for line in sorted(told)] == [
        "the records of one-222222", "the records of two-222222"]
    assert (site.root.path / "team/one-222222/attempts/1/nextflow.log").exists()


def test_not_when_the_clock_may_be_wrong(site: Site):
    """A clock that jumped years ahead removes nothing."""
    folder = site.execution("old-222222", 31)
    with site.store.begin() as tx:
        then = tx.now - timedelta(days=400)
        tx.conn.execute(schema.clocks.insert().values(boot="another", seen_at=then, uptime=0))
    assert site.expire() == []
    assert folder.exists()


def test_attachments(site: Site, tmp_path: Path):
    """What was attached goes, if it is still what was attached; results in the same folder stay."""
    folder = site.execution("old-222222", 31)
    for name in (".nextflow.log", ".nextflow.log.1"):
        (site.launch_dir / name).write_text("of its run")
    (site.launch_dir / ".nextflow.log.html").write_text("result")
    for name in ("a.csv", "bin/x.py", "deep/er/y", "changed.txt", "params.json"):
        (site.launch_dir / name).parent.mkdir(parents=True, exist_ok=True)
        (site.launch_dir / name).write_text("attached")
    (tmp_path / "outside").write_text("attached")
    names = ["a.csv", "bin/x.py", "deep/er/y", "changed.txt", "params.json"]
    attached = old_records.attached(site.launch_dir, names)
    up = "../" * (len(site.launch_dir.relative_to(tmp_path).parts)) + "outside"
    assert (site.launch_dir / up).exists()
    attached += [("link", *attached[0][1:]), ("gone", 1, 1), *old_records.attached(site.launch_dir, [up])]
    (site.launch_dir / "changed.txt").write_text("a result that was published over it")
    (site.launch_dir / "results").mkdir()
    (site.launch_dir / "results/out.txt").write_text("result")
    (site.launch_dir / "bin/more.txt").write_text("result")
    os.symlink(tmp_path / "outside", site.launch_dir / "link")
    (folder / "attempts/1/request.json").write_text(json.dumps({"attached": attached}))
    assert site.expire() == ["old-222222"]
    left = sorted(str(p.relative_to(site.launch_dir)) for p in site.launch_dir.rglob("*"))
    assert left == [
        ".nextflow.log.html", "bin", "bin/more.txt", "changed.txt", "link", "results", "results/out.txt"]
    assert (tmp_path / "outside").exists()


def test_parameters_of_relaunches_of_a_terminal_launch(site: Site):
    """The files of its relaunches from the web go; those of other executions and its launch dir stay."""
    folder = site.execution("old-222222", 31)
    launches = site.launch_dir.parent
    site.conf = replace(site.conf, web_launches=launches.parent)
    with site.store.begin() as tx:
        tx.conn.execute(sa.update(schema.executions).values(launch_dir="/home/user/project"))
    (launches / ".params").mkdir()
    (launches / "x").write_text("not ours")
    names = [f".params/{name}" for name in ("old-222222-2-aa.json", "other-333333-2-bb.json")]
    for name in names:
        (launches / name).write_text("{}")
    attached = old_records.attached(launches, [*names, "x"])
    (folder / "attempts/1/request.json").write_text(json.dumps({"attached": attached}))
    assert site.expire() == ["old-222222"]
    assert not (launches / names[0]).exists()
    assert (launches / names[1]).exists()
    assert (launches / "x").exists()


def test_only_launch_dirs_of_the_web(site: Site):
    """A user's own launch folder is never touched, whatever a request says."""
    folder = site.execution("old-222222", 31)
    (site.launch_dir / "a.csv").write_text("attached")
    (site.launch_dir / ".nextflow.log").write_text("of another run")
    attached = old_records.attached(site.launch_dir, ["a.csv"])
    (folder / "attempts/1/request.json").write_text(json.dumps({"attached": attached}))
    site.conf = replace(site.conf, web_launches=Path("/elsewhere"))
    assert site.expire() == ["old-222222"]
    assert (site.launch_dir / "a.csv").exists()
    assert (site.launch_dir / ".nextflow.log").exists()


def test_a_sweep_expires_records(site: Site):
    """Every sweep by hand does it; a server once an hour."""
    folder = site.execution("old-222222", 31)
    sweeper.sweep(site.store, site.conf, dry_run=True)
    assert folder.exists()
    sweeper.sweep(site.store, site.conf)
    assert not folder.exists()


def test_days_are_checked():
    """The setting takes a number of days, 0 for ever."""
    for value in ("-1", "x", "nan", "99999"):
        with pytest.raises(InvalidSettings):
            settings.load({"NFRESUME_KEEP_RECORDS_DAYS": value})
    with pytest.raises(InvalidSettings):
        settings.load({"NFRESUME_KEEP_TASK_LOGS": "some"})
    assert settings.load({}).keep_records_days == 90
