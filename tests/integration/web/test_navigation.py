"""Every page leads on: errors too have the navigation of whoever is logged in."""

from __future__ import annotations

import re
from urllib.parse import urljoin, urlsplit

import pytest
from fastapi.testclient import TestClient

from nfresume.domain.errors import StoreUnavailable
from nfresume.service.identity import Identity
from nfresume.service.verbs import Service
from nfresume.web.problems import API
from tests.integration.web.test_web import Web, log_in
from tests.screens.shooting import NO_PAGES, PAGES

NAVIGATION = re.compile(r'<a href="(/a/\w+)/executions"[^>]*>Executions</a>')


def leads_to(text: str) -> str | None:
    """The account whose executions the navigation leads to."""
    found = NAVIGATION.search(text)
    return found[1] if found else None


def test_errors_have_the_navigation(web: Web, monkeypatch: pytest.MonkeyPatch):
    """400, 403, 404, 409 and 500 lead to the executions of the account in the URL, or to the user's own."""
    name = web.failed("run-1")
    browser, csrf = web.browser("ada")
    for path, status in ((f"/a/team/executions/{name}x", 404), ("/a/team/nothing", 404), ("/nothing", 404),
                         ("/a/rivals/executions", 404), ("/a/team/billing?since=nonsense", 400)):
        page = browser.get(path)
        assert (page.status_code, leads_to(page.text)) == (status, "/a/team"), path
        assert "Log out" in page.text
    refused = browser.post(f"/a/team/executions/{name}/pin", data={"csrf": "wrong"})
    assert (refused.status_code, leads_to(refused.text)) == (403, "/a/team")
    late = browser.post(f"/a/team/executions/{name}/cancel", data={"csrf": csrf})
    assert (late.status_code, leads_to(late.text)) == (409, "/a/team")

    def broken(*_: object) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(Service, "state_counts", broken)
    calm = TestClient(web.client.app, base_url="http://127.0.0.1", raise_server_exceptions=False,
                      cookies=dict(browser.cookies))
    fault = calm.get("/a/team/executions")
    assert (fault.status_code, leads_to(fault.text)) == (500, "/a/team")


def test_strangers_see_no_navigation(web: Web, monkeypatch: pytest.MonkeyPatch):
    """Without a session, and without a database, an error is told all the same, without navigation."""
    page = web.client.get("/nothing")
    assert (page.status_code, leads_to(page.text)) == (404, None)
    assert "Log out" not in page.text
    browser, _ = web.browser("ada")
    cached = browser.get("/static/nothing.css")
    assert (cached.status_code, "csrf" in cached.text) == (404, False)
    assert leads_to(browser.get("/docs").text) == "/a/team"
    assert leads_to(web.client.get("/docs").text) is None

    def away(*_: object) -> None:
        raise StoreUnavailable("the state database failed", "start it")

    monkeypatch.setattr(Identity, "session", away)
    page = browser.get("/a/team/executions")
    assert (page.status_code, leads_to(page.text)) == (503, None)
    assert browser.get("/nothing").status_code == 404
    assert browser.get("/docs").status_code == 200


def test_a_shared_link_opens_after_the_log_in(web: Web):
    """A view of the list is its URL: whoever opens it logs in, and sees that view; once, and only pages."""
    web.failed("run-1")
    view = "/a/team/executions?work=RETAINED&tag=project%3Dx&sort=size"
    stranger = TestClient(web.client.app, base_url="http://127.0.0.1", follow_redirects=False)
    assert stranger.get(view, headers={"Accept": "text/html"}).headers["location"] == "/login"
    first = log_in(stranger, web.identity.login_link("eve"))
    assert first.headers["location"] == view
    browser, _ = web.browser("ada")
    for name in ("run-1", "project=x", 'aria-sort="descending"'):
        assert name in stranger.get(view).text
        assert name in browser.get(view).text
    assert log_in(stranger, web.identity.login_link("eve")).headers["location"] == "/"
    for other in ("/a/team/executions/run-1/log/1/stdout?offset=0", "/a/team/events", "/plotly.js"):
        script = TestClient(web.client.app, base_url="http://127.0.0.1", follow_redirects=False)
        script.get(other)
        assert log_in(script, web.identity.login_link("eve")).headers["location"] == "/"


@pytest.mark.parametrize("planted", ["//evil.example/", "https://evil.example/", "/a/x%0d%0aSet-Cookie: a=b",
                                     "/a\\evil.example", "%2Fa%2F%5Cevil.example", "/login"])
def test_only_a_page_of_an_account_is_opened_after_the_log_in(web: Web, planted: str):
    """A cookie that somebody planted leads to no other site."""
    stranger = TestClient(web.client.app, base_url="http://127.0.0.1", follow_redirects=False)
    stranger.cookies.set("nfresume_page", planted)
    assert log_in(stranger, web.identity.login_link("eve")).headers["location"] == "/"


def test_every_page_is_looked_at(web: Web):
    """Each route that answers a GET is among the pages that browsers walk through, or known as no page.

    So a new page is checked by axe-core, on a phone, and for its weight.
    """
    urls = [urlsplit(urljoin("http://x/a/lab/", path)).path for path in PAGES.values()]
    routers = [each.original_router for each in web.client.app.routes if hasattr(each, "original_router")]
    routes = [route for router in routers for route in router.routes
              if "GET" in route.methods and not route.path.startswith(API)]
    assert len(routes) > 25
    missing = {route.path for route in routes
               if not any(route.path_regex.fullmatch(url) for url in urls)} - NO_PAGES
    assert missing == set()
    assert {route.path for route in routes} >= NO_PAGES - {"/login/oidc/callback"}
