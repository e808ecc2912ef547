"""Budgets and notices on real runs."""

from __future__ import annotations

import json
import queue
import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
import sqlalchemy as sa

from nfresume.store import Store, schema
from tests import aws
from tests.conftest import Site, until

NARROW = json.dumps([{"account": "team", "objects": 1, "when_full": "refuse"}])


def failing(site: Site, *options: str, **env: str) -> dict[str, Any]:
    """A failed execution, as `show --json` has it."""
    if not (site.launch_dir / "fail-late").exists():
        site.pipeline("fail-late")
    site.run("launch", "--storage-expiration-hours", "48", *options, "fail-late", **env)
    return site.show()


def names(shown: dict[str, Any]) -> list[str]:
    return [event["name"] for event in shown["events"]]


@pytest.mark.long
def test_a_full_budget_refuses_what_is_new(site: Site):
    """A failure over the limit is not kept and says why; its results are real files; a pin overrides this."""
    before = failing(site)
    refused = site.run("launch", "--storage-expiration-hours", "48", "fail-late", "--outdir", "out",
                       NFRESUME_BUDGETS=NARROW)
    assert "but is not kept: it would take" in refused.err
    assert "of the budget of account team (1 objects)" in refused.err
    gone = site.show()
    assert gone["work_dir"]["state"] == "DELETED"
    assert len(list((site.launch_dir / "out/per-sample").iterdir())) == 3
    assert not any(p.is_symlink() for p in (site.launch_dir / "out/per-sample").iterdir())
    site.run("relaunch", before["id"], NFRESUME_BUDGETS=NARROW)
    assert len(site.show(before["id"])["attempts"]) == 2
    assert site.show(before["id"])["work_dir"]["state"] == "RETAINED"  # it was kept before, so it is not new
    pinned = failing(site, "--pin", NFRESUME_BUDGETS=NARROW)
    assert pinned["work_dir"]["state"] == "RETAINED"
    assert site.run("launch", "fail-late", NFRESUME_BUDGETS="[{}]").code == 78


@pytest.mark.long
def test_a_full_budget_evicts_the_cheapest(site: Site):
    """The next sweep evicts only the work dir with the least task time per GB, and records the reason."""
    cheap, dear = (failing(site)["id"] for _ in range(2))
    store = Store.open(site.env["NFRESUME_DATABASE_URL"])
    with store.begin() as tx:  # the same tasks in a thousand times the bytes: cheap to compute again per GB
        tx.conn.execute(sa.update(schema.work_dirs).where(schema.work_dirs.c.execution_id == cheap)
                        .values(metered_bytes=schema.work_dirs.c.metered_bytes * 1000))
    store.close()
    largest = site.show(cheap)["work_dir"]["metered_bytes"]
    budget = {"NFRESUME_BUDGETS": json.dumps([{"account": "*", "bytes": largest, "when_full": "evict"}])}
    report = site.ok("costs", "--json", **budget).json()["budgets"]
    assert [(b["budget"], b["share"] > 1) for b in report] == [("account team", True)]
    assert "of the budget of account team" in site.ok("costs", **budget).out
    plan = site.ok("sweep", "--dry-run", **budget).out
    assert f"{cheap}  evict  (retained storage is" in plan
    swept = site.ok("sweep", **budget)
    assert f"{cheap}  evict" in swept.out
    evicted = site.show(cheap)
    assert evicted["work_dir"]["state"] == "DELETED"
    assert "s of task time per GB, the least" in evicted["work_dir"]["reason"]
    assert "evict" in names(evicted)
    assert site.show(dear)["work_dir"]["state"] == "RETAINED"
    refused = site.run("relaunch", cheap)
    assert refused.code == 81
    assert "budget" in refused.err


@pytest.mark.long
def test_a_nearly_full_budget_is_told_once(site: Site):
    """The newest retained execution gets one warning in its history; the next one that is retained, too."""
    first = failing(site)
    taken = first["work_dir"]["files"] + first["work_dir"]["directories"]
    budget = {"NFRESUME_BUDGETS": json.dumps([{"objects": int(taken * 1.1)}])}
    said = site.ok("sweep", **budget).err
    assert "of the budget of all accounts" in said
    site.ok("sweep", **budget)
    assert names(site.show(first["id"])).count("budget_near") == 1
    second = failing(site, **budget)
    site.ok("sweep", **budget)
    assert "budget_full" in names(site.show(second["id"]))


@pytest.fixture
def mailbox() -> Iterator[tuple[str, queue.Queue[dict[str, Any]]]]:
    """A webhook: its Apprise URL, and a queue of what was posted to it."""
    posted: queue.Queue[dict[str, Any]] = queue.Queue()

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with aws.serving(Hook) as url:
        yield url.replace("http://", "json://"), posted


@pytest.mark.long
def test_a_failure_is_told_with_its_relaunch(site: Site, mailbox: tuple[str, queue.Queue[dict[str, Any]]]):
    """A failure, a near expiry and an expiry are delivered once each, by whatever sweep; `notify` counts."""
    url, posted = mailbox
    site.env["NFRESUME_NOTIFY"] = url
    execution_id = failing(site)["id"]
    failed = posted.get(timeout=20)
    assert failed["title"].startswith(f"{execution_id} failed: Process `REPORT")
    assert f"nfresume relaunch {execution_id}" in failed["message"]
    site.ok("sweep")
    assert posted.empty()
    move_expiry(site, execution_id, hours=0.9)
    site.ok("sweep")
    assert "expires" in posted.get(timeout=5)["title"]
    site.ok("sweep")
    assert posted.empty()
    move_expiry(site, execution_id, hours=-0.1)
    site.ok("sweep")
    assert posted.get(timeout=5)["title"] == f"the work dir of {execution_id} has expired and is deleted"
    assert posted.empty()
    assert names(site.show(execution_id)).count("expiry_near") == 1
    rows = site.ok("notify", "--json").json()
    assert [(row["delivered"], row["failed"]) for row in rows] == [(3, 0)]
    site.ok("notify", "--test")
    assert posted.get(timeout=5)["title"] == "nfresume can reach you here"


def move_expiry(site: Site, execution_id: str, hours: float) -> None:
    """Let a work dir expire in `hours` from now, with the notice one hour earlier."""
    store = Store.open(site.env["NFRESUME_DATABASE_URL"])
    with store.begin() as tx:
        tx.conn.execute(sa.update(schema.work_dirs).where(schema.work_dirs.c.execution_id == execution_id)
                        .values(expires_at=datetime.now(UTC) + timedelta(hours=hours),
                                notice_at=datetime.now(UTC) + timedelta(hours=hours - 1)))
    store.close()


@pytest.mark.long
def test_a_channel_that_hangs_delays_nothing(site: Site):
    """The launch ends and its work dir is settled; the notice is counted as failed."""
    with aws.unresponsive() as (url, connections):
        site.env["NFRESUME_NOTIFY"] = url.replace("http://", "json://")
        begun = time.monotonic()
        shown = failing(site)
        quiet = time.monotonic() - begun
        assert shown["work_dir"]["state"] == "RETAINED"
        until(lambda: connections, what="the channel being asked")
        assert quiet < 15
        until(lambda: site.ok("notify", "--json").json()[0]["failed"] == 1, what="the failure being noted")
        assert site.run("notify", "--test").code == 1
    text = site.ok("config").out + site.ok("notify").out
    assert "json://..." in text
    assert url.rpartition(":")[2] not in text


def test_no_secret_is_stored(site: Site, mailbox: tuple[str, queue.Queue[dict[str, Any]]]):
    """A channel's URL may contain a password: the database stores only its digest."""
    url, posted = mailbox
    site.env["NFRESUME_NOTIFY"] = url.replace("json://", "json://user:hunter2@")
    failing(site)
    posted.get(timeout=20)
    until(lambda: site.ok("notify", "--json").json()[0]["delivered"] == 1)
    connection = sqlite3.connect(site.env["NFRESUME_DATABASE_URL"].removeprefix("sqlite:///"))
    dump = "\n".join(connection.iterdump())
    connection.close()
    assert "deliveries" in dump
    assert "hunter2" not in dump
