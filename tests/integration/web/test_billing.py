"""The billing page: groupings of the costs, and whose they are."""

from __future__ import annotations

import csv
import re
from datetime import timedelta

import pytest

from nfresume.domain.people import Role
from nfresume.store import schema
from tests.integration.web.test_web import Web

BILLING = "/a/team/billing"


@pytest.fixture
def stored(web: Web) -> Web:
    """Three accounts: team stores 1 GiB, rivals 4, lab 2. ada has team and lab."""
    web.identity.add_user("grace")
    web.identity.set_role("grace", "lab", Role.OWNER)
    web.identity.set_role("ada", "lab", Role.VIEWER)
    for name, account, size in (("run-1", "team", 1), ("run-2", "rivals", 4), ("run-3", "lab", 2)):
        web.failed(name, account)
        with web.store.begin() as tx:
            tx.conn.execute(schema.size_samples.insert().values(
                execution_id=name, at=tx.now - timedelta(hours=1), metered_bytes=size * 2**30,
                processes={"ALIGN": size * 2**30}))
            tx.conn.execute(schema.work_dirs.update().where(
                schema.work_dirs.c.execution_id == name).values(metered_bytes=size * 2**30))
    return web


def keys(text: str, by: str) -> list[str]:
    """The first column of the table of a grouping."""
    table = re.search(rf'id="by-{by}">.*?<tbody>(.*?)</tbody>', text, re.DOTALL)
    return re.findall(r'<th scope="row"[^>]*>(?:<a[^>]*>)?([^<]+)', table[1]) if table else []


def test_by_account(stored: Web):
    """It lists the accounts of the user, the most expensive first, with links; the CSV has the same lines."""
    browser, _ = stored.browser("ada")
    shown = browser.get(f"{BILLING}?by=account")
    assert keys(shown.text, "account") == ["lab", "team"]
    assert 'data-title="stored now">2.0 GiB<' in shown.text
    assert '/a/lab/billing?since=30d&by=account' in shown.text.replace("&amp;", "&")
    assert browser.get("/a/lab/billing?by=account").status_code == 200
    rows = list(csv.DictReader(browser.get(f"{BILLING}.csv?by=account").text.splitlines()))
    assert [(row["account"], row["metered_bytes_now"]) for row in rows] == [
        ("lab", str(2 * 2**30)), ("team", str(2**30))]
    theirs, _ = stored.browser("bob")
    assert keys(theirs.get("/a/rivals/billing?by=account").text, "account") == ["rivals"]
    stored.identity.set_role("ada", "lab", None)
    browser, _ = stored.browser("ada")
    assert keys(browser.get(f"{BILLING}?by=account").text, "account") == ["team"]


def test_every_grouping_is_reached_from_the_page(stored: Web):
    """By account, pipeline, execution, process and day: the link leads to a table with a line."""
    browser, _ = stored.browser("ada")
    text = browser.get(BILLING).text.replace("&amp;", "&")
    for by, key in (("account", "lab"), ("pipeline", "main.nf"), ("execution", "run-1"),
                    ("process", "ALIGN"), ("day", "20")):
        link = re.search(rf'href="([^"]*#by-{by})"', text)
        assert link is not None, by
        found = keys(browser.get(BILLING + link[1].partition("#")[0]).text, by)
        assert any(each.startswith(key) for each in found), (by, found)
