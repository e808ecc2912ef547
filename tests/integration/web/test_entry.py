"""Getting in and staying in: attacks on log-ins, sessions, memberships and providers, and the audit trail."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from nfresume.domain import admission
from nfresume.domain.people import Role
from nfresume.store import schema
from nfresume.web import app, oidc
from nfresume.web.changes import CHECK_SECONDS
from tests.integration.web.test_web import API, Web, log_in


def strange(web: Web) -> TestClient:
    return TestClient(web.client.app, base_url="http://127.0.0.1", follow_redirects=False)


def test_a_log_in_cannot_be_forced(web: Web):
    """A foreign page cannot log a browser in as somebody else: it knows no form, and its Origin is
    foreign.
    """
    victim, _ = web.browser("ada")
    before = dict(victim.cookies)
    link = web.identity.login_link("eve")
    assert victim.post("/login", data={"token": link}).status_code == 403
    other = strange(web)
    fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', other.get(f"/login?token={link}").text))
    assert victim.post("/login", data=fields).status_code == 403  # the form of the attacker's own browser
    for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        assert other.post("/login", data=fields, headers=headers).status_code == 403
    assert dict(victim.cookies) == before
    assert log_in(other, link).status_code == 303


@pytest.mark.parametrize(("web_url", "host", "origin", "allowed"), [
    ("https://console.example.org:8443", "console.example.org", "https://console.example.org:8443", True),
    ("https://console.example.org", "console.example.org", "https://console.example.org", True),
    ("https://console.example.org:443", "console.example.org", "https://console.example.org", True),
    ("https://console.example.org", "console.example.org", "http://console.example.org", False),
    ("https://console.example.org", "console.example.org", "https://console.example.org.evil.org", False),
    ("https://console.example.org", "console.example.org", "https://evil.example.org", False),
])
def test_origins(tmp_path: Path, web_url: str, host: str, origin: str, allowed: bool):
    """The origin of a form is that of web_url, whatever port a proxy leaves out of Host."""
    web = Web(tmp_path, f"sqlite:///{tmp_path / 'state.db'}", NFRESUME_WEB_URL=web_url)
    browser = TestClient(web.client.app, base_url=f"https://{host}", follow_redirects=False)
    fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', browser.get(
        "/login", params={"token": web.identity.login_link("ada")}).text))
    sent = browser.post("/login", data=fields, headers={"Origin": origin})
    assert sent.status_code == (303 if allowed else 403)
    if allowed:
        cookies = sent.headers.get_list("set-cookie")
        name = "__Host-nfresume-8443=" if ":8443" in web_url else "__Host-nfresume="
        assert any(c.startswith(name) and "Secure" in c and "HttpOnly" in c for c in cookies)
    web.store.close()


def test_consoles_at_several_ports_of_a_host(web: Web):
    """Browsers send cookies to every port of a host: each console has cookies of its own name."""
    browser = TestClient(web.client.app, follow_redirects=False)
    for port, user in ((8765, "ada"), (8766, "eve")):
        shown = browser.get(f"http://127.0.0.1:{port}/login", params={"token": web.identity.login_link(user)})
        fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', shown.text))
        assert browser.post(f"http://127.0.0.1:{port}/login", data=fields).status_code == 303
    for port, user in ((8765, "ada"), (8766, "eve")):
        shown = browser.get(f"http://127.0.0.1:{port}/a/team/settings")
        assert user in shown.text.split('class="who"')[1].split("</div>")[0]
    assert set(browser.cookies) == {"nfresume-8765", "nfresume-8766"}


def test_a_new_log_in_ends_the_old_session(web: Web):
    """Whoever logs in again in a browser has one session, not two."""
    browser, _ = web.browser("ada")
    old = browser.cookies["nfresume"]
    assert log_in(browser, web.identity.login_link("ada")).status_code == 303
    assert web.identity.session(old) is None


@pytest.mark.parametrize("ending", ["role", "none", "disable", "remove", "end", "everybody"])
def test_sessions_end(web: Web, ending: str):
    """Sessions end with a change of role, with membership, and by the administrator; so do its tokens."""
    browser, _ = web.browser("eve")
    token = web.identity.create_token("eve", "ci", "team", 1)
    {
        "role": lambda: web.identity.set_role("eve", "team", Role.EDITOR),
        "none": lambda: web.identity.set_role("eve", "team", None),
        "disable": lambda: web.identity.set_disabled("eve", disabled=True),
        "remove": lambda: web.identity.remove_user("eve"),
        "end": lambda: web.identity.end_sessions("eve"),
        "everybody": lambda: web.identity.end_sessions(None),
    }[ending]()
    assert browser.get("/a/team/executions").headers["location"] == "/login"
    answer = web.client.get(f"{API}/runs", headers={"Authorization": f"Bearer {token}"}).status_code
    assert answer == (401 if ending in ("none", "disable", "remove") else 200)
    if ending == "disable":
        assert log_in(strange(web), web.identity.login_link("eve")).status_code == 401
        web.identity.set_disabled("eve", disabled=False)
        assert log_in(strange(web), web.identity.login_link("eve")).status_code == 303


def test_event_streams_end_with_membership(web: Web):
    """A stream that is open when its listener leaves the account ends within seconds, and says nothing
    more.
    """
    application: Any = web.client.app
    user, token = web.identity.bearer(web.identity.create_token("eve", "x", "team", 1)) or (None, None)
    assert user is not None
    assert token is not None
    changes = application.state.changes

    async def listen() -> list[str]:
        heard: list[str] = []

        async def follow() -> None:
            async for text in changes.listen("team", None, user, token):
                heard.append(text)

        following = asyncio.create_task(follow())
        await asyncio.sleep(0.1)
        await asyncio.to_thread(web.identity.set_role, "eve", "team", None)
        await asyncio.wait_for(following, CHECK_SECONDS + 3)
        return heard

    assert "closing" in asyncio.run(listen())[-1]
    assert len(changes) == 0


def test_streams_are_limited(web: Web):
    """One user's streams beyond the limit end the oldest; others still get theirs."""
    application: Any = web.client.app
    changes = application.state.changes
    known = {name: web.identity.bearer(web.identity.create_token(name, "x", "team", 1))
             for name in ("eve", "ada")}

    async def attack() -> int:
        for _ in range(1200):
            changes.listen("team", None, *known["eve"])
        mine = changes.listen("team", None, *known["ada"])
        first = await anext(mine)
        assert first.startswith("retry")
        count = len(changes)
        changes.close()
        return count

    assert asyncio.run(attack()) <= 21


def test_nobody_is_moved_into_an_account(web: Web):
    """An invitation moves nobody before it is accepted, and the answer does not tell which names exist."""
    browser, csrf = web.browser("bob")
    answers = [browser.post("/a/rivals/members", data={"csrf": csrf, "name": name, "role": "viewer"})
               for name in ("ada", "no-such-user")]
    assert {(a.status_code, a.headers["location"]) for a in answers} == {(303, "/a/rivals/settings")}
    shown = browser.get("/a/rivals/settings").text
    assert shown.count("invited as viewer") == 2
    victim, victim_csrf = web.browser("ada")
    assert victim.get("/").headers["location"] == "/a/team/executions"
    assert victim.get("/a/rivals/executions").status_code == 404
    assert "invites you to account rivals" in victim.get("/a/team/settings").text
    web.identity.add_user("no-such-user")  # who takes the name later cannot accept
    [late] = [u for u in web.identity.users() if u.name == "no-such-user"]
    assert web.identity.invitations_of(late) == []

    def answer(text: str) -> int:
        sent = victim.post("/a/rivals/invitation", data={"csrf": victim_csrf, "answer": text})
        return sent.status_code

    assert [answer("decline"), answer("accept")] == [303, 404]


def test_the_audit_trail(web: Web):
    """Log-ins, refusals, tokens, roles and changes of executions are recorded, with who, from where and
    when.
    """
    name = web.failed("run-1")
    browser, csrf = web.browser("ada")
    browser.post("/a/team/tokens", data={"csrf": csrf, "name": "ci", "days": "1"})
    browser.post("/a/team/members", data={"csrf": csrf, "name": "eve", "role": "editor"})
    browser.post(f"/a/team/executions/{name}/pin", data={"csrf": csrf})
    web.client.get(f"{API}/runs", headers={"Authorization": "Bearer nfr_wrong"})
    found = web.identity.audit("team")
    assert [(e.name, e.actor, e.address) for e in found[:3]] == [
        ("pin", "ada", "testclient"), ("role", "ada", "testclient"), ("token_create", "ada", "testclient")]
    assert found[0].execution == name
    site = {e.name: e for e in web.identity.audit(None)}
    assert site["log_in"].actor == "ada"
    assert site["refused"].detail["what"] == "token"
    assert all(e.account == "team" for e in found)
    page = browser.get("/a/team/audit")
    assert (page.status_code, "token_create" in page.text) == (200, True)
    viewer, _ = web.browser("eve")
    assert viewer.get("/a/team/audit").status_code == 403
    assert web.browser("bob")[0].get("/a/team/audit").status_code == 404


def test_the_audit_trail_only_grows(web: Web):
    """The database refuses to change or delete an entry."""
    web.identity.add_user("carol")
    for change in (schema.audit.update().values(actor="nobody"), schema.audit.delete()):
        with pytest.raises(Exception, match="never changed"), web.store.begin() as tx:
            tx.conn.execute(change)
    with web.store.begin(write=False) as tx:
        assert tx.conn.execute(sa.select(sa.func.count()).select_from(schema.audit)).scalar_one() > 0


def test_a_flood_of_refusals_does_not_fill_the_trail(web: Web):
    """Hundreds of bad tokens from one address are one entry a minute."""
    for number in range(200):
        web.client.get(f"{API}/runs", headers={"Authorization": f"Bearer nfr_{number}"})
    assert len([e for e in web.identity.audit(None, limit=1000) if e.name == "refused"]) == 1


def test_a_flood_from_many_addresses_does_not_fill_the_trail(web: Web):
    """Bad tokens from hundreds of addresses: entries for the first hundred, and one for all others."""
    for number in range(300):
        client = TestClient(web.client.app, base_url="http://127.0.0.1",
                            client=(f"2001:db8:0:{number:x}::1", 1))
        client.get(f"{API}/runs", headers={"Authorization": "Bearer nfr_x"})
    assert len([e for e in web.identity.audit(None, limit=1000) if e.name == "refused"]) == 101


# -- providers ---------------------------------------------------------------------------------------


VERIFIED = {"sub": "1", "email": "Ada@Example.org", "email_verified": True, "groups": ["genomics"]}


@pytest.mark.parametrize(("rules", "claims", "admitted"), [
    ("", VERIFIED, False),
    ("any", {"sub": "1"}, True),
    ("domain:example.org", VERIFIED, True),
    ("domain:example.org", {**VERIFIED, "email_verified": False}, False),
    ("domain:example.org", {**VERIFIED, "email_verified": "false"}, False),
    ("domain:example.org", {k: v for k, v in VERIFIED.items() if k != "email_verified"}, False),
    ("domain:example.org", {**VERIFIED, "email": "ada@evil.org@example.org"}, False),
    ("domain:example.org", {**VERIFIED, "email": "ada@sub.example.org"}, False),
    ("domain:example.org", {**VERIFIED, "email": "ada@notexample.org"}, False),
    ("domain:example.org", {"sub": "1"}, False),
    ("user:ada@example.org", VERIFIED, True),
    ("user:bob@example.org", VERIFIED, False),
    ("group:genomics", VERIFIED, True),
    ("group:genomics", {**VERIFIED, "groups": "genomics"}, True),
    ("group:genomics", {**VERIFIED, "groups": ["Genomics"]}, False),
    ("subject:1", VERIFIED, True), ("subject:2", VERIFIED, False), ("subject:None", {}, False),
])
def test_who_is_admitted(rules: str, claims: dict[str, Any], admitted: bool):
    """Only verified addresses, listed groups and named users are admitted; without rules nobody is."""
    assert admission.admits(admission.parse(rules), claims, "groups") is admitted


@pytest.mark.parametrize("bad", ["domain:", "example.org", "any:x", "user:", 7, ["domain:x", 3]])
def test_rules_that_mean_nothing(bad: object):
    """A rule without a kind or a value is refused when the settings are read."""
    with pytest.raises(ValueError):
        admission.parse(bad)


@pytest.mark.parametrize(("claims", "ours"), [
    ({"iss": "https://id.example.org", "aud": "console"}, True),
    ({"iss": "https://id.example.org/", "aud": ["other", "console"]}, True),
    ({"iss": "https://evil.example.org", "aud": "console"}, False),
    ({"iss": "https://id.example.org", "aud": "other", "azp": "console"}, False), ({"aud": "console"}, False),
    ({"iss": "https://id.example.org"}, False), ({"iss": "https://id.example.org.evil", "aud": []}, False),
])
def test_whose_word_counts(claims: dict[str, Any], ours: bool):
    """An ID token counts if the configured provider issued it, for this client."""
    assert admission.is_for(claims, "https://id.example.org", "console") is ours


def test_names_are_never_handed_out_twice(web: Web):
    """A stranger gets no name that is or was an account's, in any case, or that the site keeps for itself."""
    web.failed("run-1", account="Pipelines")
    web.identity.add_user("Carol")
    for number, wanted in enumerate(("pipelines", "TEAM", "carol", "admin", "root", "kept", "Ada")):
        secret = web.identity.log_in_as("https://issuer", str(number), wanted, Role.VIEWER, {"Kept"})
        found = web.identity.session(secret)
        assert found is not None
        assert found[0].name == f"{wanted.lower()}-2"
        assert dict(found[0].roles) == {found[0].name: Role.VIEWER}


def test_a_removed_user_leaves_no_name_behind(web: Web):
    """After `user remove` a stranger of the same name does not inherit the account."""
    web.failed("run-1", account="dave")
    web.identity.add_user("dave")
    web.identity.remove_user("dave")
    web.identity.log_in_as("https://issuer", "9", "dave", Role.OWNER, ())
    assert "dave-2" in {u.name for u in web.identity.users()}


def test_a_first_entry_may_not_launch(web: Web):
    """A user who enters for the first time can launch nothing, unless the site gives new users that role."""
    secret = web.identity.log_in_as("https://issuer", "1", "zoe", web.conf.oidc_first_role, ())
    browser = strange(web)
    browser.cookies.set("nfresume", secret, domain="127.0.0.1")
    page = browser.get("/a/zoe/settings")
    csrf = re.search(r'name="csrf" value="(\w+)"', page.text)
    assert csrf is not None
    sent = browser.post("/a/zoe/launch", data={"csrf": csrf[1], "pipeline": "nf-core/demo"})
    assert sent.status_code == 403


def test_settings_name_accounts_that_are_reserved(web: Web):
    """Accounts of the settings and folders in the root are reserved, too."""
    (web.conf.root / "forgotten").mkdir()
    assert {"team", "forgotten"} <= oidc._reserved(web.conf)
    assert app.create(web.conf, web.store) is not None


def test_a_user_sees_and_ends_sessions(web: Web):
    """The settings page lists a user's own sessions; each of the others can be ended, those of others not."""
    first, csrf = web.browser("eve")
    second, _ = web.browser("eve")
    stranger, strangers_csrf = web.browser("ada")
    shown = first.get("/a/team/settings").text
    [other] = re.findall(r'action="(/a/team/sessions/\w+/end)"', shown)
    assert "this one" in shown
    assert stranger.post(other, data={"csrf": strangers_csrf}).status_code == 404
    assert first.post(other).status_code == 403
    assert second.get("/a/team/executions").status_code == 200
    assert first.post(other, data={"csrf": csrf}).status_code == 303
    assert second.get("/a/team/executions").headers["location"] == "/login"
    assert first.get("/a/team/executions").status_code == 200


def test_an_idle_session_ends(web: Web):
    """A session without a request for a day is over."""
    browser, _ = web.browser("ada")
    with web.store.begin() as tx:
        late = tx.now - timedelta(hours=25)
        tx.conn.execute(schema.tokens.update().values(used_at=late, created_at=late))
    assert browser.get("/a/team/executions").headers["location"] == "/login"


def test_headers_on_every_answer(tmp_path: Path):
    """Pages, documents, redirects, refusals and faults have the headers; HSTS where users come by HTTPS."""
    web = Web(tmp_path, f"sqlite:///{tmp_path / 'state.db'}", NFRESUME_WEB_URL="https://console.example.org")
    application: Any = web.client.app

    @application.get("/broken")
    def broken() -> None:
        raise ZeroDivisionError("secret detail")

    browser = TestClient(application, base_url="https://console.example.org", follow_redirects=False,
                         raise_server_exceptions=False)
    for path, status in (("/login", 200), ("/", 303), (f"{API}/runs", 401), ("/nothing", 404),
                         ("/broken", 500)):
        answer = browser.get(path)
        assert answer.status_code == status, path
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"], path
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["strict-transport-security"] == "max-age=31536000; includeSubDomains"
        assert answer.headers["x-request-id"]
    foreign = browser.get("/login", headers={"Host": "evil.example"})
    assert (foreign.status_code, foreign.headers["x-content-type-options"]) == (400, "nosniff")
    web.store.close()


def test_a_fault_tells_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """A fault is a page or a document without details; the traceback is in the log."""
    web = Web(tmp_path, f"sqlite:///{tmp_path / 'state.db'}")
    application: Any = web.client.app

    @application.get(f"{API}/broken")
    def broken() -> None:
        raise ZeroDivisionError("secret detail")

    browser = TestClient(application, base_url="http://127.0.0.1", raise_server_exceptions=False)
    answer = browser.get(f"{API}/broken")
    assert answer.status_code == 500
    assert answer.json()["status_code"] == 500
    assert "secret detail" not in answer.text
    assert "ZeroDivisionError: secret detail" in caplog.text
    web.store.close()
