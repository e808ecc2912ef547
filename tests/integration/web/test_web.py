"""The API and the console over a real store: who sees what, what is refused, what is shown."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from nfresume import settings
from nfresume.domain.people import Role
from nfresume.service import submissions
from nfresume.service.identity import Identity
from nfresume.storage import Root
from nfresume.store import Store, queries, schema, transitions
from nfresume.store.transitions import NewAttempt, NewExecution, Owner
from nfresume.web import app
from tests.outcomes import CLAIMANT, kept

API = "/ga4gh/wes/v1"
#: What a request for a run must have beside its URL.
NFL = {"workflow_type": "NFL", "workflow_type_version": "DSL2"}
HOSTILE = "<script>alert(1)</script>\x1b]0;pwned\x07"


def log_in(browser: TestClient, secret: str) -> Any:
    """Open the page of a login link and send its form, as a browser does."""
    shown = browser.get("/login", params={"token": secret})
    return browser.post("/login", data=dict(re.findall(r'name="(\w+)" value="([^"]*)"', shown.text)))


class Web:
    """An application with three users: ada owns account team, bob owns account rivals, eve views team."""

    def __init__(self, base: Path, url: str, **conf: str) -> None:
        (base / "c.toml").touch()
        self.root = Root.mark(base / "root")
        self.conf = settings.load({
            "NFRESUME_CONFIG": str(base / "c.toml"), "NFRESUME_DATABASE_URL": url, "NFRESUME_ACCOUNT": "team",
            "NFRESUME_ROOT": str(base / "root"), "NFRESUME_WEB_LAUNCHES": str(base / "launches"),
            "NFRESUME_WEB_PIPELINES": "any", **conf})
        self.store = Store.open(url)
        with self.store.begin() as tx:
            transitions.register_root(tx, self.root.id, str(self.root.path), self.root.inode)
        self.identity = Identity(self.store)
        for name, account, role in (("ada", "team", Role.OWNER), ("bob", "rivals", Role.OWNER),
                                    ("eve", "team", Role.VIEWER)):
            self.identity.add_user(name)
            self.identity.set_role(name, account, role)
        self.client = TestClient(app.create(self.conf, self.store), base_url="http://127.0.0.1",
                                 follow_redirects=False)

    def api(self, user: str, account: str | None = None) -> Callable[..., Any]:
        """Requests with a token of this user."""
        token = self.identity.create_token(user, "test", account, 1)
        given = {"Authorization": f"Bearer {token}", **({} if account else {"X-Account": "team"})}

        def ask(method: str, path: str, headers: dict[str, str] | None = None, **words: Any) -> Any:
            return self.client.request(method, API + path, headers={**given, **(headers or {})}, **words)

        return ask

    def browser(self, user: str) -> tuple[TestClient, str]:
        """A browser in which this user is logged in, and the token of its forms."""
        browser = TestClient(self.client.app, base_url="http://127.0.0.1", follow_redirects=False)
        assert log_in(browser, self.identity.login_link(user)).status_code == 303
        page = browser.get(f"/a/{'rivals' if user == 'bob' else 'team'}/settings")
        return browser, re.search(r'name="csrf" value="(\w+)"', page.text)[1]

    def failed(self, name: str, account: str = "team", pipeline: str = "main.nf") -> str:
        """A failed execution whose work dir is retained, with some text in its stdout."""
        folder = self.root.execution(account, name)
        with self.store.begin() as tx:
            new = NewExecution(name, account, self.root.id, str(folder.work), pipeline,
                               str(self.root.path.parent), str(uuid.uuid4()), 5.0, "test", False,
                               tags={"project": "x"})
            transitions.launch(tx, new, NewAttempt(pipeline, (), False, None, "24.10.5"), "me")
            lease = transitions.claim(tx, name, Owner("h", "b"), 30)
            outcome = kept(tx.now + timedelta(hours=5), error=HOSTILE)
            transitions.settle(tx, lease, outcome, transitions.TaskCounts(), "me", CLAIMANT)
        folder.provision(1)
        (folder.attempt(1) / "stdout.log").write_text(f"hello {HOSTILE}\n")
        return name


def test_runs_are_listed_in_pages(web: Web):
    """Runs are listed newest first, each once, filtered by state, without those of other accounts."""
    mine = [web.failed(f"run-{n}") for n in range(5)]
    web.failed("run-theirs", "rivals")
    ask = web.api("ada")
    seen, token = [], ""
    while True:
        page = ask("GET", "/runs", params={"page_size": 2, "page_token": token}).json()
        seen += [run["run_id"] for run in page["runs"]]
        token = page["next_page_token"]
        if not token:
            break
    assert seen == mine[::-1]
    assert ask("GET", "/runs", params={"state": "COMPLETE"}).json()["runs"] == []
    assert len(ask("GET", "/runs", params={"state": "EXECUTOR_ERROR"}).json()["runs"]) == 5
    run = page["runs"][0]
    assert (run["state"], run["tags"]) == ("EXECUTOR_ERROR", {"project": "x"})
    assert ask("GET", "/service-info").json()["system_state_counts"]["EXECUTOR_ERROR"] == 5


def test_everything_about_a_run(web: Web):
    """Request, log, status, tasks and output of a run are answered, and the URLs in them work."""
    name = web.failed("run-1")
    ask = web.api("ada")
    log = ask("GET", f"/runs/{name}").json()
    assert (log["state"], log["run_log"]["exit_code"], log["request"]["workflow_url"]) == (
        "EXECUTOR_ERROR", 1, "main.nf")
    assert log["request"]["workflow_engine_version"] == "24.10.5"
    path = log["run_log"]["stdout"].removeprefix(f"http://127.0.0.1{API}")
    assert ask("GET", path).text.startswith("hello ")
    assert ask("GET", path, params={"offset": 3}).text.startswith("lo ")
    assert ask("GET", f"/runs/{name}/status").json() == {"run_id": name, "state": "EXECUTOR_ERROR"}
    assert ask("GET", f"/runs/{name}/tasks").json() == {"task_logs": [], "next_page_token": ""}
    assert ask("GET", f"/runs/{name}/details").json()["work_dir"]["state"] == "RETAINED"


def test_work_dirs_by_the_api(web: Web):
    """Extend, pin, unpin and delete work; a conflict is a problem document with the command line's hint."""
    name = web.failed("run-1")
    ask = web.api("ada")
    assert ask("POST", f"/runs/{name}/extend", json={"hours": 100}).status_code == 200
    assert ask("POST", f"/runs/{name}/pin").json()["work_dir"]["pinned"]
    refused = ask("DELETE", f"/runs/{name}/work-dir")
    assert (refused.status_code, refused.headers["content-type"]) == (409, "application/problem+json")
    assert refused.json()["type"] == "urn:nfresume:conflict"
    assert "pinned" in refused.json()["detail"]
    assert refused.json()["hint"]
    ask("POST", f"/runs/{name}/unpin")
    gone = ask("DELETE", f"/runs/{name}/work-dir")
    assert (gone.status_code, gone.json()["work_dir"]["state"]) == (202, "DELETING")
    assert ask("POST", f"/runs/{name}/relaunch", json={}).status_code == 410
    assert ask("POST", f"/runs/{name}/cancel").status_code == 409


def test_other_accounts_answer_404(web: Web):
    """Cases 66, 67: for another account's execution each read, change, log, event, page and form is a 404."""
    name = web.failed("run-1")
    web.failed("run-b", "team-b")
    for ask in (web.api("bob"), web.api("bob", "rivals")):
        for method, path in (
            ("GET", ""), ("GET", "/status"), ("GET", "/tasks"), ("GET", "/logs/stdout"), ("GET", "/details"),
            ("POST", "/cancel"), ("POST", "/pin"), ("DELETE", "/work-dir"),
        ):
            assert ask(method, f"/runs/{name}{path}").status_code == 404, path
        assert ask("POST", f"/runs/{name}/relaunch", json={}).status_code == 404
        assert ask("GET", "/events", params={"run_id": name}).status_code == 404
    assert web.api("ada")("GET", "/runs/run-b").status_code == 404
    browser, csrf = web.browser("bob")
    pages = ("", "/tasks", "/tasks/1/1", "/tasks/1/1/stdout", "/timeline", "/graph", "/why", "/log",
             "/results", "/result/1/x", "/storage", "/history", "/relaunch", "/log/1/stdout")
    for path in ("executions", "billing", "billing.csv", "settings", "launch", f"launch?former={name}",
                 "events", *(f"executions/{name}{page}" for page in pages)):
        assert browser.get(f"/a/team/{path}").status_code == 404, path
    for page in pages:
        assert browser.get(f"/a/rivals/executions/{name}{page}").status_code == 404, page
    assert browser.get(f"/a/rivals/launch?former={name}").status_code == 404
    for path in (f"/a/team/executions/{name}/delete", f"/a/rivals/executions/{name}/delete", "/a/team/launch",
                 f"/a/team/executions/{name}/relaunch", f"/a/rivals/executions/{name}/relaunch",
                 "/a/team/members", "/a/team/tokens"):
        sent = browser.post(path, data={"csrf": csrf, "name": "bob", "role": "owner", "pipeline": "x"})
        assert sent.status_code == 404, path
    assert web.api("ada")("GET", f"/runs/{name}").json()["state"] == "EXECUTOR_ERROR"
    one_account = web.api("ada", "team")
    assert one_account("GET", "/runs", headers={"X-Account": "ada"}).status_code == 404


def test_a_viewer_may_look_only(web: Web):
    """A viewer can read, and gets 403 for every change, by the API and by a form."""
    name = web.failed("run-1")
    ask = web.api("eve")
    assert ask("GET", f"/runs/{name}").status_code == 200
    assert ask("POST", f"/runs/{name}/pin").status_code == 403
    assert ask("POST", "/runs", data={"workflow_url": "x"}).status_code == 403
    browser, csrf = web.browser("eve")
    page = browser.get(f"/a/team/executions/{name}")
    assert "You may look at this execution, but not change it." in page.text
    assert browser.post(f"/a/team/executions/{name}/pin", data={"csrf": csrf}).status_code == 403
    sent = browser.post("/a/team/members", data={"csrf": csrf, "name": "eve", "role": "owner"})
    assert sent.status_code == 403


def test_forms_need_their_token(web: Web):
    """Case 56: a form without the session's token or from a foreign page is refused; GET changes nothing."""
    name = web.failed("run-1")
    browser, csrf = web.browser("ada")
    pin = f"/a/team/executions/{name}/pin"
    assert browser.post(pin).status_code == 403
    assert browser.post(pin, data={"csrf": "x" * 64}).status_code == 403
    other = web.browser("ada")[1]
    assert browser.post(pin, data={"csrf": other}).status_code == 403
    foreign = {"Origin": "http://evil.example"}
    assert browser.post(pin, data={"csrf": csrf}, headers=foreign).status_code == 403
    assert browser.get(pin).status_code == 405
    assert not web.api("ada")("GET", f"/runs/{name}/details").json()["work_dir"]["pinned"]
    assert browser.post(pin, data={"csrf": csrf}, headers={"Origin": "http://127.0.0.1"}).status_code == 303
    assert web.api("ada")("GET", f"/runs/{name}/details").json()["work_dir"]["pinned"]


def test_foreign_hosts_and_headers(web: Web):
    """Cases 57, 58: a foreign Host is refused; response headers forbid inline scripts and frames."""
    for host in ("evil.example", "127.0.0.1/a/team/events?", "ada@127.0.0.1", "127.0.0.1#", "127.0.0.1:x"):
        assert web.client.get("/login", headers={"Host": host}).status_code == 400, host
    assert web.client.get("/login", headers={"Host": "[::1]:8765"}).status_code == 200
    headers = web.client.get("/login").headers
    policy = headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    foreign = web.client.get("/login", headers={"Origin": "http://evil.example"})
    assert not [name for name in foreign.headers if name.startswith("access-control")]
    assert web.client.request("TRACE", "/login").status_code == 405
    cookie = log_in(web.client, web.identity.login_link("ada")).headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie


def test_hostile_text_is_inert(web: Web):
    """Case 58: markup in names, errors and logs is escaped; control characters are shown as escapes."""
    name = web.failed("run-1", pipeline=f"/x/{HOSTILE}.nf")
    browser, _ = web.browser("ada")
    for path in ("executions", f"executions/{name}", "billing"):
        text = browser.get(f"/a/team/{path}").text
        assert "<script>alert" not in text, path
        assert "\x1b" not in text, path
    text = browser.get(f"/a/team/executions/{name}").text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\\x1b]0;pwned\\x07" in text


def test_logs_stay_in_their_folder(web: Web):
    """Cases 59, 61: a path for a name, or a link for a log, is a 404; a huge log is read in bounded parts."""
    name = web.failed("run-1")
    ask = web.api("ada")
    browser, _ = web.browser("ada")
    for evil in ("../../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e/stdout", "/etc/passwd", "x"):
        assert ask("GET", f"/runs/{name}/logs/{evil}").status_code == 404, evil
        found = browser.get(f"/a/team/executions/{name}/log/1/{evil}")
        assert found.status_code in (404, 405), evil
    log = web.root.execution("team", name).attempt(1) / "stdout.log"
    with log.open("wb") as file:
        file.truncate(3 * 2**30)
    part = ask("GET", f"/runs/{name}/logs/stdout", headers={"Range": "bytes=-1000"})
    assert (part.status_code, len(part.content)) == (206, 1000)
    shown = browser.get(f"/a/team/executions/{name}/log/1/stdout", params={"offset": 0})
    assert len(shown.content) <= 256 * 1024
    assert len(browser.get(f"/a/team/executions/{name}").content) < 500_000
    log.unlink()
    log.symlink_to("/etc/shadow")
    assert ask("GET", f"/runs/{name}/logs/stdout").status_code == 404
    assert "root:" not in browser.get(f"/a/team/executions/{name}").text


def test_log_in_and_out(web: Web):
    """Case 62: a link works once; a log-out ends stolen sessions; a planted session cookie is replaced."""
    link = web.identity.login_link("ada")
    first = TestClient(web.client.app, base_url="http://127.0.0.1", follow_redirects=False)
    first.cookies.set("nfresume", "planted")
    assert log_in(first, link).status_code == 303
    session = first.cookies.get("nfresume", domain="127.0.0.1") or first.cookies.jar
    assert "planted" not in str(session) or first.get("/a/team/executions").status_code == 200
    assert log_in(web.client, link).status_code == 401
    browser, csrf = web.browser("ada")
    stolen = dict(browser.cookies)
    assert browser.get("/a/team/executions").status_code == 200
    assert browser.post("/logout", data={"csrf": csrf}).status_code == 303
    thief = TestClient(web.client.app, base_url="http://127.0.0.1", cookies=stolen, follow_redirects=False)
    assert thief.get("/a/team/executions").headers["location"] == "/login"


def test_guessing_is_throttled(web: Web):
    """Case 62: after too many bad tokens bad ones are refused unseen; valid ones of that address get in."""
    codes = [web.client.get(f"{API}/runs", headers={"Authorization": f"Bearer nfr_{n}"}).status_code
             for n in range(25)]
    assert codes[0] == 401
    assert codes[-1] == 429
    assert log_in(web.client, "nfr_x").status_code == 429
    assert web.api("ada")("GET", "/runs").status_code == 200
    assert log_in(web.client, web.identity.login_link("ada")).status_code == 303
    assert web.client.get(f"{API}/runs").json()["hint"]


def test_tokens_are_stored_hashed_and_can_be_revoked(web: Web):
    """The database does not hold a token's secret; a revoked token is refused."""
    browser, csrf = web.browser("ada")
    page = browser.post("/a/team/tokens", data={"csrf": csrf, "name": HOSTILE, "days": "1"})
    secret = re.search(r'id="secret">(nfr_[\w-]+)<', page.text)[1]
    assert "<script>alert" not in page.text

    def works() -> int:
        return web.client.get(f"{API}/runs", headers={"Authorization": f"Bearer {secret}"}).status_code

    assert works() == 200
    with web.store.begin() as tx:
        rows = str(tx.conn.execute(schema.tokens.select()).all())
    assert secret not in rows
    [token] = [t for t in web.identity.tokens("ada") if t.name == HOSTILE]
    sent = browser.post(f"/a/team/tokens/{token.id}/revoke", data={"csrf": csrf})
    assert sent.status_code == 303
    assert works() == 401


def test_a_name_of_a_host_inside(web: Web):
    """Case 60: a URL is refused if the name of its host resolves to an address that is not public."""
    lines = [line.split() for line in Path("/etc/hosts").read_text().splitlines() if line.startswith("127.")]
    inside = next(name for words in lines for name in words[1:] if name != "localhost")
    sent = web.api("ada")("POST", "/runs", data={**NFL, "workflow_url": f"http://{inside}/x.git"})
    assert (sent.status_code, inside in sent.json()["detail"]) == (400, True)


@pytest.mark.parametrize("bad", [
    {"workflow_url": "-help"}, {"workflow_url": "http://169.254.169.254/x.git"},
    {"workflow_url": "main.nf", "workflow_params": '{"a": {"b": ["http://169.254.170.2/creds"]}}'},
    {"workflow_url": "main.nf", "workflow_params": '{"a": "x https://localhost:1/"}'},
    {"workflow_url": "main.nf", "workflow_params": '{"a": "http://0x7f.1/"}'},
    {"workflow_url": "main.nf", "workflow_params": '{"a": "http://[::1]/"}'},
    {"workflow_url": "main.nf", "workflow_params": '{"a": "http://10.0.0.1/"}'},
    {"workflow_url": "main.nf", "workflow_params": '{"a": NaN}'},
    {"workflow_url": "main.nf", "workflow_params": '{"a": [-Infinity]}'},
    {"workflow_url": "main.nf", "workflow_params": '{"a": "\\ud800"}'},
    {"workflow_url": "main.nf", "workflow_params": "[1]"},
    {"workflow_url": "main.nf", "workflow_params": "{"},
    {"workflow_url": "main.nf", "workflow_type": "CWL"}, {"workflow_url": "x\ny"},
    {"workflow_url": "main.nf", "workflow_engine_parameters": '{"profile": "-with-docker evil"}'},
    {"workflow_url": "main.nf", "workflow_engine_parameters": '{"-c": "/etc/passwd"}'},
    {"workflow_url": "main.nf", "workflow_engine_parameters": '{"revision": "--x"}'},
    {"workflow_url": "main.nf", "workflow_engine_parameters": '{"storage_expiration_hours": -1}'},
])
def test_what_must_not_come_from_the_web(web: Web, bad: dict[str, str]):
    """Cases 60, 63: values that are options, URLs of internal hosts and malformed documents are refused."""
    refused = web.api("ada")("POST", "/runs", data={**NFL, **bad})
    assert refused.status_code in (400, 404), refused.text
    assert refused.json()["hint"]
    assert not list((web.root.path.parent / "launches").rglob("*.json"))


def test_attachments_stay_in_their_folder(web: Web):
    """An attachment whose name leads out of its folder is refused, and nothing is written."""
    for name in ("../evil.nf", "/etc/evil.nf", "a/../../evil.nf", "-x.nf"):
        refused = web.api("ada")("POST", "/runs", data={**NFL, "workflow_url": "main.nf"},
                                 files=[("workflow_attachment", (name, b"x"))])
        assert refused.status_code in (400, 404), name
    assert not list((web.root.path.parent).rglob("evil.nf"))


def test_parameters_of_a_relaunch_are_files_of_ours(web: Web):
    """They overwrite no file of the user: they go into our folder of a launch dir from the web; for what was
    launched at a terminal they go beside the launch dirs. They expire with the other attachments.
    """
    here = web.conf.web_launches / "team" / "run-web"
    here.mkdir(parents=True)
    for name, launch_dir in (("run-web", here), ("run-terminal", web.root.path.parent)):
        web.failed(name)
        with web.store.begin() as tx:
            tx.conn.execute(schema.executions.update().where(schema.executions.c.id == name)
                            .values(launch_dir=str(launch_dir)))
            execution = queries.get(tx, name)
        file, attached = submissions._params_file(web.conf, execution, {"a": 1})
        again, _ = submissions._params_file(web.conf, execution, {"a": 2})
        assert file != again
        if name == "run-web":
            assert file.parent == here / ".nfresume"
            assert [path for path, *_ in attached] == [f".nfresume/{file.name}"]
        else:
            assert file.parent == web.conf.web_launches / "team" / ".params"
            assert [path for path, *_ in attached] == [f".params/{file.name}"]


def test_only_allowed_pipelines_and_profiles(url: str, tmp_path: Path):
    """A site that lists its pipelines and profiles runs no others."""
    web = Web(tmp_path, url, NFRESUME_WEB_PIPELINES="nf-core/*, /pipelines/x.nf",
              NFRESUME_WEB_PROFILES="test,docker")
    ask = web.api("ada")
    for pipeline in ("/etc/evil.nf", "evil/rnaseq", "https://github.com/evil/x"):
        refused = ask("POST", "/runs", data={**NFL, "workflow_url": pipeline})
        assert (refused.status_code, "not allowed here" in refused.json()["detail"]) == (400, True)
    attached = ask("POST", "/runs", data={**NFL, "workflow_url": "nf-core/x"},
                   files=[("workflow_attachment", ("nf-core/x", b"evil"))])
    assert attached.status_code == 400
    refused = ask("POST", "/runs", data={**NFL, "workflow_url": "/pipelines/x.nf",
                                         "workflow_engine_parameters": '{"profile": "evil"}'})
    assert "profile evil is not allowed" in refused.json()["detail"]
    name = web.failed("run-1")
    assert ask("POST", f"/runs/{name}/relaunch", json={"workflow_url": "/etc/evil.nf"}).status_code == 400
    web.store.close()


def test_search_sort_and_bulk(web: Web):
    """The server searches and sorts the list; several executions are extended or deleted at once."""
    for number in range(3):
        web.failed(f"run-{number}", pipeline=f"p{number}.nf")
    browser, csrf = web.browser("ada")
    assert "run-1" in browser.get("/a/team/executions?search=p1").text
    assert "run-2" not in browser.get("/a/team/executions?search=p1").text
    assert "Nothing matches" in browser.get("/a/team/executions?search=100%25").text
    for sort in ("newest", "oldest", "size", "expiry", "pipeline", "nonsense"):
        assert browser.get(f"/a/team/executions?sort={sort}").status_code == 200
    def send(action: str, *ids: str, **more: str) -> Any:
        return browser.post("/a/team/executions", data={
            "csrf": csrf, "action": action, "id": list(ids), "hours": "100", **more})

    asked = send("extend", "run-0", "run-1")
    assert (asked.status_code, "2 executions" in asked.text) == (200, True)
    assert send("extend", "run-0", "run-1", confirmed="yes").status_code == 303
    ask = web.api("ada")
    ends = [ask("GET", f"/runs/run-{n}/details").json()["work_dir"]["expires_at"] for n in range(3)]
    assert ends[0] > ends[2] < ends[1]
    assert "Their work dirs are deleted" in send("delete", "run-0").text
    sent = send("delete", "run-0", "gone", confirmed="yes")
    assert sent.status_code == 409
    assert "1 of 2 executions were not changed" in sent.text
    assert ask("GET", "/runs/run-0/details").json()["work_dir"]["state"] == "DELETING"


def test_sizes_and_case(web: Web):
    """Work dirs that are deleted come last by size, and a search ignores case, on both databases."""
    for number, name in enumerate(("run-small", "run-large", "run-gone")):
        web.failed(name, pipeline="/x/RNAseq.nf")
        with web.store.begin() as tx:
            tx.conn.execute(schema.work_dirs.update().where(schema.work_dirs.c.execution_id == name).values(
                metered_bytes=(number + 1) * 1000, state="DELETED" if name == "run-gone" else "RETAINED"))
    browser, _ = web.browser("ada")
    text = browser.get("/a/team/executions?sort=size").text
    assert text.index("run-large") < text.index("run-small") < text.index("run-gone")
    assert "run-small" in browser.get("/a/team/executions?search=rnaSEQ").text


def test_billing_with_a_task_cache(web: Web):
    """The billing page shows a task cache beside executions."""
    web.failed("run-1")
    with web.store.begin() as tx:
        tx.conn.execute(schema.cache_samples.insert().values(
            root_id=web.root.id, account="team", at=tx.now - timedelta(hours=2), metered_bytes=10**9))
    browser, _ = web.browser("ada")
    shown = browser.get("/a/team/billing")
    assert (shown.status_code, "task cache" in shown.text) == (200, True)


def test_a_new_name_takes_over_no_account(web: Web):
    """A new user of a provider whose name is that of a user or of an account with runs gets another name."""
    web.failed("run-1", account="pipelines")
    for wanted in ("ada", "team", "pipelines@example.org"):
        secret = web.identity.log_in_as("https://issuer", wanted, wanted, Role.VIEWER, ())
        found = web.identity.session(secret)
        assert found is not None
        assert dict(found[0].roles) == {f"{wanted.partition('@')[0]}-2": Role.VIEWER}


def test_members(web: Web):
    """An owner invites, sets and removes roles; the last owner cannot be demoted."""
    browser, csrf = web.browser("ada")

    def change(name: str, role: str) -> int:
        return browser.post("/a/team/members", data={"csrf": csrf, "name": name, "role": role}).status_code

    assert change("bob", "editor") == 303
    assert web.api("bob")("GET", "/runs").status_code == 404
    guest, guest_csrf = web.browser("bob")
    assert guest.post("/a/team/invitation", data={"csrf": guest_csrf, "answer": "accept"}).status_code == 303
    assert web.api("bob")("GET", "/runs").status_code == 200
    assert change("bob", "none") == 303
    assert web.api("bob")("GET", "/runs").status_code == 404
    assert change("nobody", "editor") == 303
    assert change("bob", "king") == 400
    assert change("ada", "viewer") == 409


def test_pages_for_people_and_documents_for_programs(web: Web):
    """An error is a problem document for the API and a page for browsers; no session: to the log-in page."""
    assert web.client.get("/a/team/executions").headers["location"] == "/login"
    assert web.client.get(f"{API}/nothing").headers["content-type"] == "application/problem+json"
    browser, _ = web.browser("ada")
    page = browser.get("/a/team/executions/run-404")
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "Back to the executions" in page.text
    assert browser.get("/a/team/launch").status_code == 200
    assert browser.get("/docs").status_code == 200
