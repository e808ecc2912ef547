"""A server under attacks: its memory stays below 300 MB, and others are answered within a second.

All traffic is on loopback. Other clients are other addresses of 127.0.0.0/8.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest

from nfresume.domain.people import Role
from nfresume.service.identity import Identity
from nfresume.store import Store
from tests.acceptance.test_server import API, Server, serving
from tests.conftest import PROJECT, Site
from tests.serving import log_in

pytestmark = [pytest.mark.slow, pytest.mark.long]

#: Looks at the list page from another address until its standard input ends, and prints how long each look
#: took. A process of its own: the attackers keep the interpreter of the test busy.
BYSTANDER = """
import http.client, select, sys, time
host, port, session = sys.argv[1], int(sys.argv[2]), sys.argv[3]
while True:
    begun = time.monotonic()
    connection = http.client.HTTPConnection(host, port, timeout=20, source_address=("127.0.0.9", 0))
    connection.request("GET", "/a/team/executions", headers={"Cookie": session})
    answer = connection.getresponse()
    assert answer.status == 200 and b"Executions" in answer.read(), answer.status
    print(time.monotonic() - begun, flush=True)
    connection.close()
    if select.select([sys.stdin], [], [], 0.1)[0]:
        break
"""

MIB = 2**20
MAX_RSS = 300 * MIB
#: On a machine that has nothing else to do. On another, as much longer as its processors are wanted.
MAX_SECONDS = 1.0
ATTACK_SECONDS = 8.0


@dataclass
class Watch:
    """What was measured during an attack: the largest resident memory, and the times of a bystander's
    page.
    """

    rss: int = 0
    seconds: list[float] = field(default_factory=list)

    @property
    def slowest(self) -> float:
        return max(self.seconds)


@dataclass
class Scene:
    """A server with the session of a bystander, and tokens of an editor and a viewer."""

    server: Server
    session: str
    editor: str
    viewer: str
    address: tuple[str, int]

    def connect(self, client: str = "127.0.0.1") -> socket.socket:
        return socket.create_connection(self.address, timeout=10, source_address=(client, 0))


@pytest.fixture
def scene(site: Site) -> Iterator[Scene]:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, hard), hard))
    store = Store.open(site.env["NFRESUME_DATABASE_URL"])
    identity, tokens = Identity(store), []
    for name, role in (("ed", Role.EDITOR), ("eve", Role.VIEWER)):
        identity.add_user(name)
        identity.set_role(name, "team", role)
        tokens.append(identity.create_token(name, "test", "team", 1))
    store.close()
    with serving(site, "--no-scheduler") as server:
        browser = httpx.Client(base_url=server.url)
        log_in(browser, server.link)
        host, _, port = server.url.removeprefix("http://").partition(":")
        session = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        yield Scene(server, session, *tokens, (host, int(port)))


@contextlib.contextmanager
def watched(scene: Scene, name: str) -> Iterator[Watch]:
    """Measure memory and the bystander's list page during the block, and check the limits at its end."""
    watch, over = Watch(), threading.Event()
    others = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    process = psutil.Process(scene.server.pid)

    def memory() -> None:
        while not over.wait(0.02):
            watch.rss = max(watch.rss, process.memory_info().rss)

    looking = subprocess.Popen(
        [sys.executable, "-c", BYSTANDER, *map(str, scene.address), scene.session], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True)
    assert looking.stdout is not None
    watch.seconds.append(float(looking.stdout.readline()))  # it looks already
    reader = threading.Thread(target=memory)
    reader.start()
    try:
        yield watch
    finally:
        over.set()
        reader.join()
        out, _ = looking.communicate("")
    assert looking.returncode == 0
    watch.seconds += map(float, out.split())
    line = {"attack": name, "rss_mib": round(watch.rss / MIB), "slowest_s": round(watch.slowest, 3),
            "looks": len(watch.seconds), "load": round(others, 1)}
    folder = PROJECT / ".test-output"
    folder.mkdir(exist_ok=True)
    with (folder / "limits.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    assert watch.rss < MAX_RSS, line
    assert watch.slowest < MAX_SECONDS * others, line


def pour(scene: Scene, head: str, size: int, part: bytes, client: str = "127.0.0.1") -> str:
    """Send a request head and up to `size` bytes of a body; returns the first line of the answer."""
    with scene.connect(client) as connection:
        sent = 0
        with contextlib.suppress(OSError):
            connection.sendall(head.encode())
            while sent < size:
                connection.sendall(part)
                sent += len(part)
        with contextlib.suppress(OSError):
            return connection.recv(200).split(b"\r\n")[0].decode()
    return ""


def head(path: str, token: str, *lines: str, method: str = "POST") -> str:
    authorization = [f"Authorization: Bearer {token}"] if token else []
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *authorization, *lines, "", ""])


def several(count: int, attack: Callable[[int], object]) -> None:
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(attack, range(count)))


def test_huge_bodies(scene: Scene):
    """1.5 GB of JSON, declared or chunked, by nobody, a viewer and an editor, is never taken into memory."""
    size, part = 1_500_000_000, b'{"a": ' * 10_000
    chunk = f"{len(part):x}\r\n".encode() + part + b"\r\n"
    json_type = "Content-Type: application/json"

    def attack(number: int) -> None:
        token = ("", scene.viewer, scene.editor)[number % 3]
        for path in (f"{API}/runs/x/relaunch", f"{API}/runs", f"{API}/runs/x/extend", "/login"):
            first = pour(scene, head(path, token, json_type, f"Content-Length: {size}"), size, part)
            assert first == "" or first.split()[1] in ("401", "403", "413", "404"), first
            pour(scene, head(path, token, json_type, "Transfer-Encoding: chunked"), size, chunk)

    with watched(scene, "1.5 GB of JSON"):
        several(6, attack)


def test_files_before_authorization(scene: Scene):
    """A file of 600 MB without a token, or by a viewer, is refused by its head; /tmp does not fill."""
    part = b"x" * 60_000
    begin = b'--b\r\nContent-Disposition: form-data; name="workflow_attachment"; filename="a.csv"\r\n\r\n'
    before = psutil.disk_usage("/tmp").used

    def attack(number: int) -> None:
        token = ("", scene.viewer)[number % 2]
        lines = ("Content-Type: multipart/form-data; boundary=b", f"Content-Length: {600_000_000}")
        first = pour(scene, head(f"{API}/runs", token, *lines) + begin.decode(), 600_000_000, part)
        assert first == "" or first.split()[1] in ("401", "403"), first

    with watched(scene, "600 MB file"):
        several(4, attack)
        assert psutil.disk_usage("/tmp").used - before < 100 * MIB


def test_forty_large_attachments(scene: Scene, site: Site):
    """40 requests of 49 MB at once by one editor: a few are taken, the others are refused."""
    body = (b'--b\r\nContent-Disposition: form-data; name="workflow_url"\r\n\r\nmain.nf\r\n'
            b'--b\r\nContent-Disposition: form-data; name="workflow_attachment"; filename="a.csv"\r\n\r\n'
            + b"x" * 49_000_000 + b"\r\n--b--\r\n")
    answers: list[str] = []

    def attack(number: int) -> None:
        lines = ("Content-Type: multipart/form-data; boundary=b", f"Content-Length: {len(body)}")
        with scene.connect() as connection:
            with contextlib.suppress(OSError):
                connection.sendall(head(f"{API}/runs", scene.editor, *lines).encode())
                connection.sendall(body)
            with contextlib.suppress(OSError):
                answers.append(connection.recv(200).split(b" ")[1:2][0].decode())

    with watched(scene, "40 x 49 MB attachments"):
        several(40, attack)
    assert set(answers) <= {"400", "404", "429", "413"}
    assert "429" in answers


def test_json_that_grows_in_memory(scene: Scene):
    """5 MB of `{},{},...` as parameters would be 120 MB of objects: it is refused before it is parsed."""
    params = '{"a": [' + "{}," * 1_600_000 + "{}]}"

    def attack(number: int) -> None:
        with httpx.Client(base_url=scene.server.url, timeout=30,
                          headers={"Authorization": f"Bearer {scene.editor}"}) as client, contextlib.suppress(
                              httpx.TransportError):
            sent = (client.post(f"{API}/runs", files={"workflow_url": (None, "main.nf"), "workflow_type": (
                None, "NFL"), "workflow_type_version": (None, "DSL2"), "workflow_params": (None, params)})
                    if number % 2 else client.post(f"{API}/runs/x/relaunch", content=params.replace(
                        '"a"', '"workflow_params"'), headers={"Content-Type": "application/json"}))
            assert sent.status_code in (400, 404, 429), sent.text

    with watched(scene, "JSON of a million values"):
        several(8, attack)


def test_half_sent_heads(scene: Scene):
    """1,500 connections that never finish a head, from one address and from many, do not stop the server."""
    with watched(scene, "1,500 half-sent heads"), contextlib.ExitStack() as stack:
        for number in range(1500):
            client = "127.0.0.1" if number < 1000 else f"127.0.1.{number % 200 + 1}"
            with contextlib.suppress(OSError):
                connection = stack.enter_context(scene.connect(client))
                connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
        time.sleep(2)


def test_a_head_must_arrive_in_time(scene: Scene):
    """A head that comes byte by byte is cut off after ten seconds, and a body that stalls after twenty."""
    with scene.connect() as slow, scene.connect() as stalled:
        slow.sendall(b"GET / HTTP/1.1\r\n")
        stalled.sendall(head("/login", "", "Content-Type: application/x-www-form-urlencoded",
                             "Content-Length: 100").encode())
        begun = time.monotonic()
        slow.settimeout(15)
        with contextlib.suppress(ConnectionResetError):
            assert slow.recv(10) == b""
        assert 8 < time.monotonic() - begun < 13
        stalled.settimeout(25)
        assert b" 413 " in stalled.recv(100)
        assert 15 < time.monotonic() - begun < 25


def test_event_streams_of_one_viewer(scene: Scene):
    """1,012 event streams of one viewer: the newest stay, and others still get theirs."""
    with watched(scene, "1,012 event streams"), contextlib.ExitStack() as stack:
        for number in range(1012):
            with contextlib.suppress(OSError):
                connection = stack.enter_context(scene.connect(f"127.0.2.{number // 50 + 1}"))
                connection.sendall(head(f"{API}/events", scene.viewer, method="GET").encode())
        time.sleep(1)
        with httpx.stream("GET", f"{scene.server.url}{API}/events", timeout=10, headers={
                "Authorization": f"Bearer {scene.editor}"}) as mine:
            assert mine.status_code == 200


def test_a_flood_of_one_user(scene: Scene):
    """A viewer who asks for the list 64 times at once gets 429 for some; others are answered in a second."""
    end = time.monotonic() + ATTACK_SECONDS
    codes: set[int] = set()

    def attack(number: int) -> None:
        with httpx.Client(base_url=scene.server.url, timeout=30,
                          headers={"Authorization": f"Bearer {scene.viewer}"}) as client:
            while time.monotonic() < end:
                with contextlib.suppress(httpx.TransportError):
                    codes.add(client.get(f"{API}/runs").status_code)

    with watched(scene, "64 requests at a time"):
        several(64, attack)
    assert codes == {200, 429}


def test_readers_who_do_not_read(scene: Scene):
    """Hundreds of clients that ask for a large file and read nothing fill no memory."""
    with watched(scene, "readers who do not read"), contextlib.ExitStack() as stack:
        for number in range(600):
            with contextlib.suppress(OSError):
                connection = stack.enter_context(scene.connect(f"127.0.3.{number // 50 + 1}"))
                connection.sendall(head("/plotly.js", "", method="GET").encode())
        time.sleep(ATTACK_SECONDS / 2)


def test_many_parts_and_fields(scene: Scene):
    """Forms of thousands of fields or files are refused."""
    parts = "".join(f'--b\r\nContent-Disposition: form-data; name="f{n}"; filename="a{n}"\r\n\r\nx\r\n'
                    for n in range(20_000)) + "--b--\r\n"

    def attack(number: int) -> None:
        with contextlib.suppress(httpx.TransportError):
            sent = httpx.post(f"{scene.server.url}{API}/runs", content=parts, timeout=30, headers={
                "Authorization": f"Bearer {scene.editor}", "Content-Type": "multipart/form-data; boundary=b"})
            assert sent.status_code in (400, 429)

    with watched(scene, "20,000 files in a form"):
        several(6, attack)


def test_bad_tokens_lock_nobody_out(scene: Scene):
    """400 bad tokens from an address: valid ones of the same address are answered all the while."""
    with watched(scene, "400 bad tokens"), httpx.Client(base_url=scene.server.url, timeout=20) as client:
        for number in range(400):
            client.get(f"{API}/runs", headers={"Authorization": f"Bearer nfr_{number}"})
            if number % 50 == 0:
                good = client.get(f"{API}/runs", headers={"Authorization": f"Bearer {scene.viewer}"})
                assert good.status_code == 200
    assert Path("/proc", str(scene.server.pid)).exists()
