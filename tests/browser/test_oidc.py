"""Logging in with an OpenID Connect provider, in a browser; the provider is another server."""

from __future__ import annotations

import re
import socket

import httpx
import oidc_provider_mock
import pytest
from playwright.sync_api import Page, expect

from tests.conftest import Site
from tests.serving import serve

pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def begin(page: Page, subject: str) -> None:
    page.get_by_role("button", name="Log in with your organisation").click()
    page.locator("input[name=sub]").fill(subject)
    page.get_by_role("button", name="Authorize").click()


@pytest.mark.long
def test_log_in_with_a_provider(site: Site, page: Page):
    """The first log-in creates a user, the second finds it; strangers and forged callbacks do not get in."""
    port = free_port()
    page.route(re.compile(r"^https?://(?!localhost|127\.)"), lambda route: route.fulfill(body=""))
    with oidc_provider_mock.run_server_in_thread() as provider:
        issuer = f"http://localhost:{provider.server_port}"
        httpx.put(f"{issuer}/users/s1", json={"email": "ada@example.org", "email_verified": True})
        httpx.put(f"{issuer}/users/s2", json={"email": "ada@example.org", "preferred_username": "Ada"})
        site.env.update(NFRESUME_WEB_URL=f"http://localhost:{port}", NFRESUME_OIDC_ISSUER=issuer,
                        NFRESUME_OIDC_CLIENT_ID="console", NFRESUME_OIDC_CLIENT_SECRET="hush",
                        NFRESUME_OIDC_ADMIT="domain:example.org")
        with serve(site, port=port) as console:
            assert "token=" not in "".join(console.stderr)
            for _ in range(2):
                page.goto(f"{console.url}/")
                begin(page, "s1")
                page.wait_for_url("**/a/ada/executions")
                expect(page.get_by_text("No executions yet.")).to_be_visible()
                page.get_by_role("button", name="Log out").click()
                page.wait_for_url("**/login")
            other = page.context.new_page()  # two tabs at once: the later log-in counts
            for tab in (page, other):
                tab.goto(f"{console.url}/")
                tab.get_by_role("button", name="Log in with your organisation").click()
                tab.locator("input[name=sub]").fill("s1")
            for tab in (page, other):
                tab.get_by_role("button", name="Authorize").click()
            expect(page.get_by_text("another tab began one later")).to_be_visible()
            other.wait_for_url("**/a/ada/executions")
            other.close()
            page.goto(f"{console.url}/a/ada/executions")
            page.get_by_role("button", name="Log out").click()
            page.wait_for_url("**/login")
            users = site.ok("user", "list", "--json").json()
            assert [(u["name"], u["roles"]) for u in users] == [("ada", {"ada": "viewer"})]
            page.goto(f"{console.url}/")
            begin(page, "s2")
            expect(page.get_by_text("this site does not admit you")).to_be_visible()
            assert [u["name"] for u in site.ok("user", "list", "--json").json()] == ["ada"]
            forged = httpx.get(f"{console.url}/login/oidc/callback?code=x&state=y")
            assert forged.status_code == 403
            assert "nfresume-" not in forged.headers.get("set-cookie", "")
    shown = site.ok("config").out
    assert "hush" not in shown
    assert "********" in shown
