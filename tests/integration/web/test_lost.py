"""Executions whose host is lost, and work dirs that are held: the console shows what the terminal does."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta

from nfresume.domain.people import Role
from nfresume.domain.retention import Hold
from nfresume.domain.workdirs import WorkDirState
from nfresume.store import queries, removals, schema, transitions
from nfresume.store.transitions import NewAttempt, NewExecution, Owner
from nfresume.system import processes
from tests.integration.web.test_web import Web
from tests.outcomes import CLAIMANT

SETTLE = "The host is gone: settle it"


def lost(web: Web, name: str, owner: Owner) -> str:
    """A running execution whose lease has run out."""
    folder = web.root.execution("team", name)
    with web.store.begin() as tx:
        new = NewExecution(name, "team", web.root.id, str(folder.work), "main.nf",
                           str(web.root.path.parent), str(uuid.uuid4()), 5.0, "test", False)
        transitions.launch(tx, new, NewAttempt("main.nf", (), False, None, "24.10.5"), "me")
        transitions.claim(tx, name, owner, -1)
    folder.provision(1)
    return name


def test_an_owner_says_that_a_host_is_gone(web: Web):
    """The page of an execution that waits for its host says so; an owner settles it, nobody else does."""
    name = lost(web, "run-1", Owner("elsewhere", "another"))
    for user, role in (("mia", "editor"), ("eve", "viewer")):
        if user == "mia":
            web.identity.add_user("mia")
            web.identity.set_role("mia", "team", Role(role))
        browser, csrf = web.browser(user)
        shown = browser.get(f"/a/team/executions/{name}").text
        assert "Nextflow may still run there" in shown
        assert SETTLE not in shown
        refused = browser.post(f"/a/team/executions/{name}/settle", data={"csrf": csrf})
        assert refused.status_code == 403
        assert web.api(user)("POST", f"/runs/{name}/settle", json={"host_is_gone": True}).status_code == 403
    owner, csrf = web.browser("ada")
    assert SETTLE in owner.get(f"/a/team/executions/{name}").text
    assert owner.post(f"/a/team/executions/{name}/settle").status_code == 403
    assert owner.post(f"/a/team/executions/{name}/settle", data={"csrf": csrf}).status_code == 303
    shown = owner.get(f"/a/team/executions/{name}").text
    assert "its host elsewhere is gone" in shown
    assert SETTLE not in shown
    assert owner.post(f"/a/team/executions/{name}/settle", data={"csrf": csrf}).status_code == 409
    said = next(entry for entry in web.identity.audit("team") if entry.name == "host_is_gone")
    assert (said.actor, said.execution) == ("ada", name)


def test_settle_by_the_api(web: Web):
    """The API wants the word that only a person can give, and settles what is lost, nothing else."""
    name = lost(web, "run-1", Owner("elsewhere", "another"))
    ask = web.api("ada")
    for body in ({}, {"host_is_gone": False}, {"host_is_gone": True, "more": 1}):
        assert ask("POST", f"/runs/{name}/settle", json=body).status_code == 400
    assert ask("GET", f"/runs/{name}/status").json()["state"] == "RUNNING"
    settled = ask("POST", f"/runs/{name}/settle", json={"host_is_gone": True})
    assert (settled.status_code, settled.json()["state"]) == (200, "FAILED")
    assert settled.json()["work_dir"]["state"] == "RETAINED"
    assert ask("POST", f"/runs/{name}/settle", json={"host_is_gone": True}).status_code == 409


def test_what_was_lost_here_is_settled_by_a_relaunch(web: Web):
    """A relaunch from the console settles an attempt that was lost on this host, in the server's thread."""
    name = lost(web, "run-1", Owner(web.conf.host, processes.boot_id()))
    browser, csrf = web.browser("ada")
    answer = browser.post(f"/a/team/executions/{name}/relaunch", data={"csrf": csrf})
    assert answer.status_code in (404, 409)  # it has no pipeline and no cache; but it is settled
    with web.store.begin(write=False) as tx:
        assert queries.get(tx, name).work_dir.state is WorkDirState.RETAINED


def test_a_held_work_dir(web: Web):
    """The page says that a work dir is held, why, and when it is looked at again; deleting looks again."""
    name = web.failed("run-1")
    with web.store.begin() as tx:
        tx.conn.execute(schema.work_dirs.update().values(expires_at=tx.now - timedelta(minutes=1)))
        claim = removals.delete(tx, name, 1, "expired", "me", CLAIMANT)
        removals.hold(tx, claim, Hold("results/<b>.bam cannot be seen"), "me")
        again = queries.get(tx, name).work_dir.look_again_at
    assert again is not None
    assert again > tx.now - timedelta(minutes=1)
    browser, csrf = web.browser("ada")
    shown = browser.get(f"/a/team/executions/{name}").text
    assert "results/&lt;b&gt;.bam cannot be seen" in shown
    assert re.search(rf"looks again <time[^>]*>{again:%Y-%m-%d %H:%M}", shown)
    assert "Look again, and delete" in shown
    assert "--lose-results" in shown
    assert browser.post(f"/a/team/executions/{name}/delete", data={"csrf": csrf}).status_code == 303
    with web.store.begin(write=False) as tx:
        assert queries.get(tx, name).work_dir.state is WorkDirState.DELETING
