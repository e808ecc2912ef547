"""The list of executions: filters, counts, orders, pages, and changes of many with one confirmation."""

from __future__ import annotations

import re
import time
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from nfresume.store import listing, schema
from nfresume.web import app, list_pages, wes
from tests.integration.web.test_web import HOSTILE, Web, log_in
from tests.screens.data import Filled

LIST = "/a/team/executions"


def test_filters_and_counts(web: Web):
    """By state, work dir, pipeline, user, tag and date; the count is that of all pages."""
    for number in range(3):
        web.failed(f"run-{number}", pipeline=f"p{number}.nf")
    web.failed("theirs", "rivals")
    browser, _ = web.browser("ada")

    def ids(query: str) -> set[str]:
        page = browser.get(f"{LIST}?{query}")
        assert page.status_code == 200, page.text
        return set(re.findall(r'data-key="(run-\d|theirs)"', page.text))

    everything = {"run-0", "run-1", "run-2"}
    for query in ("", "state=FAILED", "work=RETAINED", "tag=project=x", "tag=PROJECT", "user=me",
                  "since=2020-01-01", "until=2100-01-01", "until=9999-12-31", "since=0001-01-01",
                  "since=nonsense", "state=nonsense"):
        assert ids(query) == everything, query
    for query in ("state=RUNNING", "work=DELETED", "tag=project=y", "tag=q=x", "user=you", "since=2100-01-01",
                  "until=2020-01-01", "pipeline=q", "tag=%25"):
        assert ids(query) == set(), query
    assert ids("pipeline=P1") == {"run-1"}
    assert "1 to 3 of 3" in browser.get(f"{LIST}?tag=project=x").text
    for sort in listing.SORTS:
        assert ids(f"sort={sort}") == everything
    hostile = browser.get(LIST, params=dict.fromkeys(("search", "tag", "user", "pipeline", "since"), HOSTILE))
    assert hostile.status_code in (200, 422)
    assert "<script>alert" not in hostile.text


def test_one_confirmation_for_many(web: Web):
    """It says how many, bytes and money, also for all that match; nothing changes before."""
    for number in range(4):
        web.failed(f"run-{number}", pipeline="p.nf" if number < 3 else "q.nf")
    web.failed("theirs", "rivals")
    with web.store.begin() as tx:
        tx.conn.execute(sa.update(schema.work_dirs).values(metered_bytes=2**30))
    browser, csrf = web.browser("ada")
    every = {"csrf": csrf, "action": "delete", "all": "1", "back": "?pipeline=p.nf"}
    asked = browser.post(LIST, data=every)
    assert "3 executions, 3.0 GiB" in asked.text
    assert "saves 0.90 USD a month" in asked.text
    assert "run-3" not in asked.text
    assert web.api("ada")("GET", "/runs/run-0/details").json()["work_dir"]["state"] == "RETAINED"
    other = browser.post(LIST, data={"csrf": csrf, "action": "delete", "id": ["theirs", "run-3"]})
    assert "1 execution, 1.0 GiB" in other.text
    assert "theirs" not in other.text
    fields = {**dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', asked.text)), "id": [
        "run-0", "run-1"]}
    done = browser.post(LIST, data=fields)
    assert (done.status_code, done.headers["location"]) == (303, f"{LIST}?pipeline=p.nf")
    assert web.api("ada")("GET", "/runs/run-0/details").json()["work_dir"]["state"] == "DELETING"
    refused = browser.post(LIST, data={"csrf": csrf, "action": "delete", "id": "theirs", "confirmed": "yes"})
    assert refused.status_code == 409
    assert browser.post(LIST, data={"csrf": csrf, "action": "purge"}).status_code == 400
    away = browser.post(LIST, data={"csrf": csrf, "action": "extend", "id": "run-3", "confirmed": "yes",
                                    "back": "https://evil.example/?state=FAILED"})
    assert away.headers["location"].startswith(f"{LIST}?")
    viewer, mine = web.browser("eve")
    assert viewer.post(LIST, data={"csrf": mine, "action": "delete", "id": "run-3"}).status_code == 403


def test_all_that_are_kept(web: Web, monkeypatch: pytest.MonkeyPatch):
    """Without scripts a box chooses all pages: all work dirs that are kept, at most so many at a time."""
    for number in range(4):
        web.failed(f"run-{number}")
    with web.store.begin() as tx:
        tx.conn.execute(sa.update(schema.work_dirs).values(metered_bytes=2**30))
        tx.conn.execute(sa.update(schema.work_dirs).where(schema.work_dirs.c.execution_id == "run-3").values(
            state="DELETED"))
    browser, csrf = web.browser("ada")
    shown = browser.get(LIST).text
    assert "choose run-2" in shown
    assert "choose run-3" not in shown
    every = {"csrf": csrf, "action": "extend", "all": "1", "back": "?", "hours": "10"}
    asked = browser.post(LIST, data=every).text
    assert "3 executions, 3.0 GiB" in asked
    assert "More match" not in asked
    assert "run-3" not in asked
    monkeypatch.setattr(list_pages, "_AT_ONCE", 2)
    some = browser.post(LIST, data=every).text
    assert "2 executions, 2.0 GiB" in some
    assert "More match. These are the newest 2" in some
    assert "No execution was chosen" in browser.post(LIST, data={"csrf": csrf, "action": "delete"}).text


def test_many_are_kept_for_longer_and_none_for_less(web: Web):
    """Nobody loses the time that was asked for one of them, also while the question is on the screen."""
    for name in ("run-0", "run-1", "run-2"):
        web.failed(name)
    api, (browser, csrf) = web.api("ada"), web.browser("ada")
    api("POST", "/runs/run-0/extend", json={"hours": 700})
    api("POST", "/runs/run-2/pin")
    form = {"csrf": csrf, "action": "extend", "hours": "48", "id": ["run-0", "run-1", "run-2"]}
    asked = browser.post(LIST, data=form).text
    assert "1 execution," in asked
    assert "run-0: it is kept for longer already" in asked
    assert "run-2: it is pinned" in asked
    before = api("GET", "/runs/run-0/details").json()["work_dir"]["expires_at"]
    done = browser.post(LIST, data={**form, "confirmed": "yes"})
    assert "2 of 3 executions were not changed" in done.text
    assert api("GET", "/runs/run-0/details").json()["work_dir"]["expires_at"] == before
    wrong = browser.post(LIST, data={**form, "hours": "x", "id": "run-0", "confirmed": "yes"})
    assert "must be a number of hours" in wrong.text


def test_a_view_is_its_url(web: Web):
    """The views that are offered, and any other, are URLs; the one that is shown is marked."""
    web.failed("run-1")
    browser, _ = web.browser("ada")
    views = re.search(r'aria-label="Views">(.*?)</nav>', browser.get(LIST).text, re.DOTALL)[1]
    links = re.findall(r'href="([^"]*)"', views.replace("&amp;", "&"))
    assert len(links) == 6
    for link in links:
        page = browser.get(LIST + link)
        assert page.status_code == 200
        marked = re.search(r'<a href="(\?[^"]*)" aria-current="true">', page.text)
        assert marked is not None, link
        assert marked[1].replace("&amp;", "&") == link
    assert not re.search(r'<a href="\?[^"]*" aria-current="true">', browser.get(f"{LIST}?search=run").text)


def test_tasks_that_were_retried_or_ignored(web: Web):
    """A try that was repeated is no failed task, and what was ignored is told as that."""
    web.failed("run-1")
    with web.store.begin() as tx:
        tx.conn.execute(sa.update(schema.attempts).values(
            submitted=7, succeeded=5, failed=2, retried=1, ignored=1))
    browser, _ = web.browser("ada")
    row = re.search(r'data-title="tasks">(.*?)</td>', browser.get(LIST).text)
    assert row is not None
    assert row[1] == "5/6 1 ignored"


def test_the_time_of_a_relaunch_is_its_own(web: Web):
    """Between two attempts nothing runs: the list says how long the last one took. WES has both ends."""
    web.failed("run-1")
    with web.store.begin() as tx:
        now = tx.now
        tx.conn.execute(sa.update(schema.attempts).values(
            started_at=now - timedelta(days=1), ended_at=now - timedelta(hours=23)))
        first = tx.conn.execute(sa.select(schema.attempts)).mappings().one()
        second = {"number": 2, "run_name": "run-1-2", "started_at": now - timedelta(minutes=5),
                  "ended_at": now}
        tx.conn.execute(sa.insert(schema.attempts).values({**first, **second}))
        tx.conn.execute(sa.update(schema.executions).values(attempt=2))
    browser, _ = web.browser("ada")
    assert 'data-title="took" title="attempt 2">5 min<' in browser.get(LIST).text
    [run] = web.api("ada")("GET", "/runs").json()["runs"]
    assert run["start_time"] == wes.moment(now - timedelta(days=1))
    assert run["end_time"] == wes.moment(now)


def test_a_page_that_is_gone(web: Web):
    """When the last page has become empty, it leads to the first one with the same filter."""
    web.failed("run-1")
    browser, _ = web.browser("ada")
    page = browser.get(f"{LIST}?state=FAILED&after=25").text
    assert "There is no such page any more" in page
    assert 'href="?state=FAILED">Show the first one' in page


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_hundred_thousand_executions(tmp_path: Path, record_property):
    """Each view of the list has less than 150 KB, also of filters that none, or hardly any, passes."""
    filled = Filled(tmp_path, 100_000, 100)
    client = TestClient(app.create(filled.conf, filled.store), base_url="http://127.0.0.1")
    log_in(client, filled.link())
    for query in ("", "state=FAILED", "work=RETAINED&sort=expiry", "work=RETAINED&sort=size", "sort=size",
                  "user=ada", "tag=project=liver", "search=rnaseq", "sort=pipeline",
                  "pipeline=sarek&after=500", "user=nobody", "search=nonsense", "pipeline=nonsense",
                  "search=rnaseq-000007", "user=nobody&sort=size"):
        took = []
        for _ in range(5):
            client.app.state.site.cache.clear()
            begun = time.process_time()
            page = client.get(f"/a/lab/executions?{query}")
            took.append(time.process_time() - begun)
            assert page.status_code == 200
            assert len(page.content) < 150_000
        record_property(f"milliseconds of {query or 'all'}", 1000 * sorted(took)[2])
    filled.store.close()
