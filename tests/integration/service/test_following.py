"""A follower gives everything that is written, once, and costs next to nothing while nothing happens."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from nfresume import settings
from nfresume.nextflow import record, record_file
from nfresume.nextflow.record import Status, Task
from nfresume.service.following import Follower, Tail, compare
from nfresume.service.verbs import Service
from nfresume.storage import Root
from nfresume.storage.root import ExecutionFolder
from nfresume.store import schema, transitions
from nfresume.store.transitions import NewAttempt, NewExecution, Owner


class Running:
    """A running execution, as the database and the folders know it."""

    def __init__(self, base: Path) -> None:
        conf = settings.load({
            "NFRESUME_DATABASE_URL": f"sqlite:///{base / 's.db'}", "NFRESUME_ACCOUNT": "team",
            "NFRESUME_ROOT": str(base / "root"), "NFRESUME_HOST": "elsewhere"})
        self.service = Service(conf)
        root = Root.mark(base / "root")
        self.folder: ExecutionFolder = root.execution("team", "run-1")
        with self.service.store.begin() as tx:
            transitions.register_root(tx, root.id, str(root.path), root.inode)
            transitions.launch(tx, NewExecution(
                "run-1", "team", root.id, str(self.folder.work), "m.nf", str(base), str(uuid.uuid4()), 0.0,
                "t", False), NewAttempt("m.nf", (), False, None, "24.10.5"), "me")
            transitions.claim(tx, "run-1", Owner("elsewhere", "b"), 3000)
        self.folder.provision(1)
        self.place = self.folder.attempt(1)
        self.writer = record_file.Writer(record_file.path_of(self.place, 1))
        self.execution = self.service.get("run-1")

    def write(self, *lines: record.Line, out: str = "") -> None:
        for line in lines:
            self.writer.write(line)
        self.writer.flush()
        with (self.place / "stdout.log").open("a") as file:
            file.write(out)

    def end(self) -> None:
        (self.place / "exit_status.json").write_text('{"exit_code": 0}')
        with self.service.store.begin() as tx:
            tx.conn.execute(sa.update(schema.executions).values(state="SUCCEEDED"))


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path)
    yield made
    made.service.close()


def test_everything_is_given_once(running: Running):
    """Output and progress while they grow, also when another supervisor begins a record of its own."""
    running.write(Task(1, "A", Status.RUNNING), out="one\n")
    output, seen = b"", []

    def go_on() -> None:
        running.write(Task(1, "A", Status.COMPLETED, was="RUNNING"), out="two\n")
        time.sleep(0.3)
        running.writer = record_file.Writer(record_file.path_of(running.place, 2))
        running.write(Task(1, "A", Status.COMPLETED), Task(2, "B", Status.FAILED), out="three\n")
        time.sleep(0.3)
        running.end()

    thread = threading.Thread(target=go_on)
    for update in Follower(running.service, running.execution).updates(progress=True):
        if not thread.ident:
            thread.start()
        output += update.stdout
        counts = update.progress.counts
        seen.append((counts.succeeded, counts.failed))
    thread.join()
    assert output == b"one\ntwo\nthree\n"
    assert list(dict.fromkeys(seen)) in ([(0, 0), (1, 0), (1, 1)], [(1, 0), (1, 1)])
    assert update.execution.state == "SUCCEEDED"


def test_a_follower_backs_off(running: Running):
    """While nothing happens it looks once a second; what happens then is given within a second."""
    transactions = 0

    def count(_connection: object) -> None:
        nonlocal transactions
        transactions += 1

    updates = []
    stop = threading.Timer(6.0, running.end)
    running.write(Task(1, "A", Status.RUNNING), out="one\n")
    begun = time.monotonic()
    stop.start()
    for update in Follower(running.service, running.execution).updates(progress=True):
        if time.monotonic() - begun > 3 and not updates:
            sa.event.listen(running.service.store._engine, "begin", count)
        if time.monotonic() - begun > 3:
            updates.append(time.monotonic())
        assert update.progress is not None
    assert 2 <= len(updates) <= 6
    assert transactions <= 6
    assert time.monotonic() - begun < 8


def test_files_that_cannot_be_read_for_a_while(running: Running):
    """A file server that gives errors ends no command that follows; afterwards all output is there, once."""
    log = running.place / "stdout.log"
    running.write(out="one\n")
    log.rename(running.place / "aside")
    log.mkdir()  # it can be opened, and every read fails
    (running.place / "stderr.log").write_text("warning\n")
    told: list[str] = []
    out, err = b"", b""

    def go_on() -> None:
        running.end()
        time.sleep(0.5)
        log.rmdir()
        (running.place / "aside").rename(log)

    thread = threading.Thread(target=go_on)
    for update in Follower(running.service, running.execution, say=told.append).updates():
        out, err = out + update.stdout, err + update.stderr
        if not thread.ident:
            thread.start()
    thread.join()
    assert (out, err) == (b"one\n", b"warning\n")
    assert len(told) == 1
    assert "cannot be read now ([Errno 21] Is a directory); waiting for it, and run-1 goes on" in told[0]


def test_a_file_that_cannot_be_opened_again(tmp_path: Path):
    """After an error a file that cannot be opened either is not taken for one without news."""
    log = tmp_path / "log"
    log.mkdir()  # it can be opened, and every read fails
    tail = Tail(log)
    with pytest.raises(OSError, match="directory"):
        tail.read()
    log.rmdir()
    with pytest.raises(FileNotFoundError):
        tail.read()
    log.symlink_to(tmp_path / "other")  # it cannot be opened
    with pytest.raises(OSError, match="symbolic links"):
        tail.read()
    log.unlink()
    log.write_bytes(b"news")
    assert tail.read() == b"news"
    tail.close()


def test_what_was_reused(running: Running):
    """Tasks of a relaunch: reused, run again, and new; the time that was saved."""
    running.write(Task(1, "A", Status.COMPLETED), Task(2, "B", Status.FAILED))
    running.writer.close(record.End(1))
    running.folder.provision(2)
    writer = record_file.Writer(record_file.path_of(running.folder.attempt(2), 2))
    for line in (Task(1, "A", Status.CACHED, took=5000), Task(2, "B", Status.RUNNING),
                 Task(2, "B", Status.COMPLETED, was="RUNNING"), Task(3, "C", Status.COMPLETED),
                 Task(4, "S", Status.STORED)):
        writer.write(line)
    writer.close(record.End(1))
    found = compare(running.folder, 2)
    assert (found.cached, found.rerun, found.new, found.saved.total_seconds()) == (2, 1, 1, 5.0)
