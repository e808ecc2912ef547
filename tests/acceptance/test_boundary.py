"""The boundary of launches from the web, with a real server and real Nextflow."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from tests.acceptance.test_server import serving
from tests.conftest import Site, until
from tests.serving import log_in

pytestmark = pytest.mark.slow

PIPELINE = "params.outdir = 'results'\nworkflow { log.info \"greeting ${params.greeting}\" }\n"
EVIL = "\"touch {mark}\".execute().waitFor()\n"


def listed(site: Site) -> Path:
    """A pipeline that the site allows, with configuration of its own; returns its folder."""
    folder = site.base / "pipelines/greet"
    folder.mkdir(parents=True)
    (folder / "main.nf").write_text(PIPELINE)
    (folder / "nextflow.config").write_text("params.greeting = 'from the pipeline'\n")
    site.env["NFRESUME_WEB_PIPELINES"] = f"{site.base}/pipelines/*, nf-core/*"
    return folder


def test_an_attached_configuration_never_runs(site: Site):
    """Attached configuration and shadowing pipelines are refused; the listed pipeline runs with its own."""
    folder, mark = listed(site), site.base / "pwned"
    with serving(site) as server:
        def attach(url: str, name: str, text: str) -> int:
            return server.ask("POST", "/runs", data={
                "workflow_url": url, "workflow_type": "NFL", "workflow_type_version": "DSL2"},
                files=[("workflow_attachment", (name, text.encode()))]).status_code

        evil = EVIL.format(mark=mark)
        assert attach(str(folder), "nextflow.config", evil) == 400
        assert attach("nf-core/demo", "nf-core/demo/main.nf", evil) == 400
        assert attach("nf-core/demo", "nf-core/demo", evil) == 400
        assert attach(f"{folder}/../../evil.nf", "x.csv", "x") == 400
        assert attach("main.nf", "main.nf", evil) == 400
        sent = server.ask("POST", "/runs", data={
            "workflow_url": str(folder), "workflow_type": "NFL", "workflow_type_version": "DSL2"},
            files=[("workflow_attachment", ("data/a.csv", b"1"))])
        run = sent.json()["run_id"]
        assert server.ended(run) == "COMPLETE"
        assert "greeting from the pipeline" in server.ask("GET", f"/runs/{run}/logs/stdout").text
    assert not mark.exists()


def test_configuration_that_appears_in_a_launch_dir_is_not_read(site: Site):
    """A nextflow.config that a run wrote into the launch dir of a web launch is not read by a later
    attempt.
    """
    folder, mark = listed(site), site.base / "pwned"
    (folder / "main.nf").write_text(PIPELINE + "workflow.onComplete { }\nerror 'not yet'\n")
    with serving(site) as server:
        sent = server.ask("POST", "/runs", data={
            "workflow_url": str(folder), "workflow_type": "NFL", "workflow_type_version": "DSL2",
            "workflow_engine_parameters": json.dumps({"storage_expiration_hours": 1})})
        run = sent.json()["run_id"]
        assert server.ended(run) == "EXECUTOR_ERROR"
        launch_dir = Path(site.show(run)["launch_dir"])
        (launch_dir / "nextflow.config").write_text(EVIL.format(mark=mark))
        (folder / "main.nf").write_text(PIPELINE)
        again = server.ask("POST", f"/runs/{run}/relaunch", json={"from_scratch": True})
        assert again.status_code == 200, again.text
        assert server.ended(run) == "COMPLETE"
    assert not mark.exists()


def test_a_form_imports_nothing(site: Site):
    """Looking at the launch form of a Python file, or of a latch_metadata, runs nothing of it, for any
    role.
    """
    mark = site.base / "imported"
    script = site.launch_dir / "flow.py"
    script.write_text(f"open({str(mark)!r}, 'w')\ndef flow(reads: str, depth: int = 3): ...\n")
    declared = site.launch_dir / "declared/latch_metadata"
    declared.mkdir(parents=True)
    (declared.parent / "main.nf").write_text("workflow {}\n")
    (declared / "__init__.py").write_text(
        f"open({str(mark)!r}, 'w')\nPARAMETERS = {{'sheet': NextflowParameter(type=str, default='a.csv')}}\n")
    with serving(site) as server:
        browser = httpx.Client(base_url=server.url)
        log_in(browser, server.link)
        shown = browser.get("/a/team/launch", params={"pipeline": f"{script}:flow"}).text
        assert 'name="param.depth"' in shown
        assert 'name="param.sheet"' in browser.get(
            "/a/team/launch", params={"pipeline": str(declared.parent)}).text
    assert not mark.exists()


@pytest.mark.long
def test_a_terminal_launch_is_relaunched_as_it_is(site: Site):
    """A run that was launched at a terminal can be relaunched from the web unchanged, and not with changes.

    Parameters of a relaunch never replace a file of the user.
    """
    listed(site)
    pipeline = site.pipeline("fail-late")
    site.run("launch", "--storage-expiration-hours", "5", str(pipeline))
    run = site.show()["id"]
    own = site.launch_dir / "params-2.json"
    own.write_text("mine")
    with serving(site) as server:
        for change in ({"workflow_params": {"x": 1}}, {"profiles": ["test"]}, {"revision": "dev"},
                       {"workflow_url": str(pipeline)}):
            refused = server.ask("POST", f"/runs/{run}/relaunch", json=change)
            assert (refused.status_code, "not allowed" in refused.text) == (400, True), change
        assert server.ask("POST", f"/runs/{run}/relaunch", json={}).status_code == 200
        server.ended(run)
    site.env["NFRESUME_WEB_PIPELINES"] = "any"
    with serving(site) as server:
        changed = server.ask("POST", f"/runs/{run}/relaunch", json={"workflow_params": {"outdir": "here"}})
        assert changed.status_code == 200
        server.ended(run)
        until(lambda: site.show(run)["attempts"][-1]["exit_code"] is not None, 30)
    assert own.read_text() == "mine"
    assert (site.launch_dir / "here").is_dir()
