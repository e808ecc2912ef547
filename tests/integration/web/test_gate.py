"""What one client can take: slots of requests, descriptors of files."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import Request
from starlette.types import Message, Receive, Scope, Send

from nfresume.web import ranges
from nfresume.web.gate import AT_ONCE, BODY_SECONDS, STREAMS, Gate
from nfresume.web.site import Reads
from tests.integration.web.test_web import API, Web


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    made = Web(tmp_path, f"sqlite:///{tmp_path / 's.db'}")
    yield made
    made.store.close()


def scope_of(app: Any, path: str) -> Scope:
    return {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"",
            "headers": [(b"host", b"127.0.0.1"), (b"authorization", b"Bearer x")], "client": ("1.1.1.1", 1),
            "scheme": "http", "server": ("127.0.0.1", 80), "app": app, "root_path": ""}


async def silent() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


def test_open_event_streams_hold_no_slot(web: Web):
    """Open event streams are no requests in progress: their user still gets pages. They have a limit of
    their own.
    """
    application: Any = web.client.app

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        kind = b"text/event-stream; charset=utf-8" if scope["path"] == "/events" else b"text/plain"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        await scope["over"].wait()
        await send({"type": "http.response.body", "body": b""})

    async def attack(path: str, more: int) -> list[int]:
        gate, codes, over = Gate(stream, application.state.site), [], asyncio.Event()

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                codes.append(message["status"])

        asked = [asyncio.create_task(gate({**scope_of(application, path), "over": over}, silent, send))
                 for _ in range(AT_ONCE)]
        while len(codes) < AT_ONCE:
            await asyncio.sleep(0.01)
        for path in (*("/events" for _ in range(more)), "/page"):
            asked.append(asyncio.create_task(gate(
                {**scope_of(application, path), "over": over}, silent, send)))
            while len(codes) < len(asked):
                await asyncio.sleep(0.01)
        over.set()
        await asyncio.gather(*asked)
        return codes

    assert asyncio.run(attack("/events", STREAMS - AT_ONCE + 2)) == [200] * STREAMS + [429] * 2 + [200]
    assert asyncio.run(attack("/page", 1)) == [200] * AT_ONCE + [429] * 2


def test_secrets_that_are_made_up(web: Web):
    """Requests with secrets that nobody has count for their address; those of a user count for the user."""
    application: Any = web.client.app
    token = web.identity.create_token("ada", "x", "team", 1)
    assert web.client.get(f"{API}/runs", headers={"Authorization": f"Bearer {token}"}).status_code == 200

    async def stays(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.Event().wait()

    async def attack() -> list[int]:
        gate, codes = Gate(stays, application.state.site), []

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                codes.append(message["status"])

        asked = []
        for secret in (*map(str, range(AT_ONCE + 2)), token):
            headers = [(b"host", b"127.0.0.1"), (b"authorization", f"Bearer {secret}".encode())]
            scope = {**scope_of(application, "/readyz"), "headers": headers}
            asked.append(asyncio.create_task(gate(scope, silent, send)))
            while len(codes) < len(asked):
                await asyncio.sleep(0.01)
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        return codes

    assert asyncio.run(attack()) == [200] * AT_ONCE + [429] * 2 + [200]


def test_slow_log_ins_of_one_address(web: Web):
    """Log-ins whose bodies do not arrive are limited by address, with whatever secrets they come."""
    application: Any = web.client.app

    async def attack(path: str) -> list[int]:
        gate, codes = Gate(application.routes_and_errors, application.state.site), []

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                codes.append(message["status"])

        asked = []
        for n in range(AT_ONCE + 3):
            headers = [(b"host", b"127.0.0.1"), (b"content-length", b"100"),
                       (b"authorization", b"Bearer %d" % n), (b"cookie", b"nfresume=%d" % n)]
            scope = {**scope_of(application, path), "method": "POST", "headers": headers}
            asked.append(asyncio.create_task(gate(scope, silent, send)))
        while len(codes) < 3:
            await asyncio.sleep(0.01)
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        return codes

    for path in ("/login", "/login/oidc"):
        assert asyncio.run(attack(path)) == [429] * 3


def test_a_refused_body_that_does_not_arrive(web: Web):
    """Whoever is refused does not hold a connection: the answer comes after two seconds at the latest."""
    application: Any = web.client.app
    answered = []

    async def send(message: Message) -> None:
        answered.append(message)

    async def attack() -> None:
        gate = Gate(application.routes_and_errors, application.state.site)
        headers = [(b"host", b"127.0.0.1"), (b"content-length", b"1000")]
        scope = {**scope_of(application, f"{API}/runs"), "method": "POST", "headers": headers}
        async with asyncio.timeout(BODY_SECONDS / 2):
            await gate(scope, silent, send)

    asyncio.run(attack())
    assert answered[0]["status"] == 401


def test_nobody_waits_behind_the_reads_of_another():
    """However many pages one user asks for, another's is next."""
    async def attack() -> list[str]:
        reads, order = Reads(), []

        async def read(user: str) -> None:
            async with reads.slot(user):
                order.append(user)
                await asyncio.sleep(0.01)

        flood = [asyncio.create_task(read("mallory")) for _ in range(20)]
        await asyncio.sleep(0)
        await asyncio.gather(*flood, asyncio.create_task(read("eve")))
        return order

    assert asyncio.run(attack()).index("eve") <= 2


def test_every_read_takes_its_turn(web: Web):
    """What is read from the database with a token is read in a slot of its user."""
    class Watched(Reads):
        taken = 0

        @contextlib.asynccontextmanager
        async def slot(self, user_id: str) -> AsyncIterator[None]:
            async with super().slot(user_id):
                self.taken += 1
                yield

    web.client.app.state.site.reads = reads = Watched()
    ask = web.api("eve")
    for number, path in enumerate(("/runs", "/costs", "/service-info"), 1):
        assert ask("GET", path).status_code == 200
        assert reads.taken == number, path
    assert web.client.get(f"{API}/service-info").json()["system_state_counts"] == {}


def test_a_file_is_closed_when_nobody_reads(tmp_path: Path):
    """The descriptor of a file is closed when its client is given up before the first part is sent."""
    (tmp_path / "log").write_text("x" * 1000)
    fd = os.open(tmp_path / "log", os.O_RDONLY)
    scope = scope_of(None, "/x")

    async def send(_message: Message) -> None:
        raise TimeoutError

    response = ranges.of_file(Request(scope), fd)
    with contextlib.suppress(TimeoutError, ExceptionGroup):
        asyncio.run(response(scope, silent, send))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


@pytest.mark.parametrize(("wanted", "status", "length"), [
    ("bytes=5-2", 200, 1_000), ("bytes=0-0,2-3", 200, 1_000), ("bytes=999-", 206, 1), ("bytes=1000-", 416, 0),
    ("bytes=-0", 416, 0), ("items=0-1", 200, 1_000), (f"bytes={'9' * 30}-", 200, 1_000),
])
def test_ranges(web: Web, wanted: str, status: int, length: int):
    """A range that means nothing is ignored, one behind the end is refused."""
    name = web.failed("run-1")
    (web.root.execution("team", name).attempt(1) / "stdout.log").write_bytes(b"x" * 1_000)
    found = web.api("ada")("GET", f"/runs/{name}/logs/stdout", headers={"Range": wanted})
    assert (found.status_code, len(found.content)) == (status, length)


@pytest.mark.parametrize("path", [
    "/a/team/executions?after=" + "9" * 290, "/a/team/executions?after=-1", "/a/team/executions?search=%ff",
    f"{API}/runs?page_size=" + "9" * 30, "/a/team/executions/run-1/tasks?after=1099511627776",
    "/a/team/executions/run-1/timeline?start=4503599627370496&end=0",
])
def test_numbers_that_are_too_large(web: Web, path: str):
    """Numbers that no database takes give an answer, and no fault."""
    web.failed("run-1")
    browser, _ = web.browser("ada")
    token = web.identity.create_token("ada", "x", "team", 1)
    assert browser.get(path, headers={"Authorization": f"Bearer {token}"}).status_code == 200
