"""GA4GH WES 1.1 to the letter: every endpoint in every state, against the specification's schema."""

from __future__ import annotations

import base64
import os
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from nfresume.domain.executions import ExecutionState
from nfresume.nextflow import command
from nfresume.store import transitions
from nfresume.store.transitions import NewAttempt, NewExecution, Owner
from nfresume.web import run_requests
from tests import wes_schema as schema
from tests.integration.web.test_web import API, Web
from tests.outcomes import CLAIMANT, kept

S = ExecutionState
LOG = """Nov-24 12:00:01.000 [main] DEBUG nextflow.Session - Session UUID: x
{stamp} [Task submitter] INFO  nextflow.Session - [ab/cdef01] Submitted process > ALIGN (s1)
{stamp} [Task monitor] DEBUG n.processor.TaskPollingMonitor - Task completed > TaskHandler[id: 1; \
name: ALIGN (s1); status: COMPLETED; exit: 0; error: -; workDir: {work}/ab/cdef0123456789]
{stamp} [PublishDir-1] TRACE nextflow.processor.PublishDir - publishing file: {work}/ab/cdef0123456789/a.bam \
-[SYMLINK]-> {out}/results/a.bam
"""


def run_in(web: Web, state: S, exit_code: int | None = 1, error: str | None = "it failed") -> str:
    """An execution in this state, with a task and a published file in its records."""
    name = f"run-{uuid.uuid4().hex[:6]}"
    folder = web.root.execution("team", name)
    launch_dir = web.root.path.parent / name
    launch_dir.mkdir()
    with web.store.begin() as tx:
        new = NewExecution(name, "team", web.root.id, str(folder.work), "main.nf", str(launch_dir),
                           str(uuid.uuid4()), 5.0, "test", False)
        transitions.launch(tx, new, NewAttempt("main.nf", (), False, None, None), "me")
        folder.provision(1)
        if state is not S.QUEUED:
            lease = transitions.claim(tx, name, Owner("h", "b"), 30)
        if state in (S.CANCELLING, S.CANCELLED):
            transitions.cancel(tx, name, "me")
        if state in (S.SUCCEEDED, S.FAILED, S.CANCELLED):
            ended = S.SUCCEEDED if state is S.SUCCEEDED else S.FAILED
            outcome = replace(kept(tx.now + timedelta(hours=5), ended, error), exit_code=exit_code)
            transitions.settle(tx, lease, outcome, transitions.TaskCounts(), "me", CLAIMANT)
    task_dir = folder.work / "ab/cdef0123456789"
    task_dir.mkdir(parents=True)
    (task_dir / "a.bam").write_bytes(b"BAM")
    (task_dir / ".command.out").write_text("aligned\n")
    (launch_dir / "results").mkdir()
    (launch_dir / "results/a.bam").symlink_to(task_dir / "a.bam")
    stamp = datetime.now().strftime("%b-%d %H:%M:%S.000")
    (folder.attempt(1) / command.LOG).write_text(LOG.format(stamp=stamp, work=folder.work, out=launch_dir))
    (folder.attempt(1) / "stdout.log").write_bytes(b"0123456789" * 100_000)
    return name


STATES = [(S.QUEUED, None, "QUEUED"), (S.RUNNING, None, "RUNNING"), (S.CANCELLING, None, "CANCELING"),
          (S.SUCCEEDED, 0, "COMPLETE"), (S.FAILED, 1, "EXECUTOR_ERROR"), (S.CANCELLED, 143, "CANCELED"),
          (S.FAILED, None, "SYSTEM_ERROR"), (S.FAILED, -9, "SYSTEM_ERROR")]


@pytest.mark.parametrize(("state", "exit_code", "expected"), STATES, ids=[f"{s[2]} {s[1]}" for s in STATES])
def test_every_answer_is_as_specified(web: Web, state: S, exit_code: int | None, expected: str):
    """In each state: list, log, status, tasks, one task and service-info are valid and name the same
    state.
    """
    name = run_in(web, state, exit_code)
    ask = web.api("ada")
    [listed] = schema.check(ask("GET", "/runs"), schema.RUN_LIST)["runs"]
    log = schema.check(ask("GET", f"/runs/{name}"), schema.RUN_LOG)
    status = schema.check(ask("GET", f"/runs/{name}/status"), schema.RUN_STATUS)
    assert {listed["state"], log["state"], status["state"]} == {expected}
    counts = schema.check(ask("GET", "/service-info"), schema.SERVICE_INFO)["system_state_counts"]
    assert {key for key, count in counts.items() if count} == {expected}
    [task] = schema.check(ask("GET", f"/runs/{name}/tasks"), schema.TASK_LIST)["task_logs"]
    assert schema.check(ask("GET", f"/runs/{name}/tasks/{task['id']}"), schema.TASK_LOG) == task
    near = datetime.now(UTC) - datetime.fromisoformat(task["start_time"])
    assert abs(near) < timedelta(minutes=5)
    if state is S.QUEUED:
        assert "start_time" not in listed
    if state.live:
        assert "end_time" not in listed
    elsewhere = "COMPLETE" if expected != "COMPLETE" else "CANCELED"
    assert schema.check(ask("GET", "/runs", params={"state": elsewhere}), schema.RUN_LIST)["runs"] == []
    [again] = schema.check(ask("GET", "/runs", params={"state": expected}), schema.RUN_LIST)["runs"]
    assert again == listed


def test_service_info_needs_no_token(web: Web):
    """service-info tells how to get a token, so it needs none; without one it counts no runs."""
    run_in(web, S.FAILED)
    for headers in ({}, {"Authorization": "Bearer nfr_wrong"}):
        shown = schema.check(web.client.get(f"{API}/service-info", headers=headers), schema.SERVICE_INFO)
        assert shown["system_state_counts"] == {}
        assert shown["auth_instructions_url"].endswith("/docs")
        assert web.client.get("/docs").status_code == 200


def test_page_sizes_are_clamped(web: Web):
    """A page has at most as many runs or tasks as asked for, and never more than 1,000; 0 is none."""
    names = [run_in(web, S.FAILED) for _ in range(3)]
    ask = web.api("ada")
    assert len(schema.check(ask("GET", "/runs", params={"page_size": 10**12}), schema.RUN_LIST)["runs"]) == 3
    empty = schema.check(ask("GET", "/runs", params={"page_size": 0}), schema.RUN_LIST)
    assert empty["runs"] == []
    rest = ask("GET", "/runs", params={"page_token": empty["next_page_token"]})
    assert [run["run_id"] for run in schema.check(rest, schema.RUN_LIST)["runs"]] == names[::-1]
    tasks = f"/runs/{names[0]}/tasks"
    assert schema.check(ask("GET", tasks, params={"page_size": 0}), schema.TASK_LIST)["task_logs"] == []
    large = schema.check(ask("GET", tasks, params={"page_size": 5000}), schema.TASK_LIST)
    assert len(large["task_logs"]) == 1
    for bad in ({"page_size": -1}, {"page_size": "x"}, {"page_token": "nonsense"}):
        schema.check_error(ask("GET", "/runs", params=bad), 400)
    schema.check_error(ask("GET", tasks, params={"page_token": "x"}), 400)
    for time in ("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-01-01"):
        token = base64.urlsafe_b64encode(f"{time}|x".encode()).decode()
        schema.check_error(ask("GET", "/runs", params={"page_token": token}), 400)


GOOD = {"workflow_url": "main.nf", "workflow_type": "NFL", "workflow_type_version": "DSL2"}


@pytest.mark.parametrize(("change", "named"), [
    ({"workflow_type": None}, "workflow_type"), ({"workflow_type_version": None}, "workflow_type_version"),
    ({"workflow_url": None}, "workflow_url"), ({"workflow_url": ""}, "workflow_url"),
    ({"workflow_type": "CWL"}, "CWL"), ({"workflow_type_version": "DSL1"}, "DSL1"),
    ({"workflow_engine": "toil"}, "toil"), ({"workflow_engine": "python"}, "python"),
    ({"workflow_engine_version": "24.10.5"}, "workflow_engine"),
    ({"workflow_engine": "nextflow", "workflow_engine_version": "0.1"}, "0.1"),
    ({"workflow_parms": "{}"}, "workflow_parms"), ({"tags": '{"a": 1}'}, "'a'"), ({"tags": "[]"}, "tags"),
    ({"tags": '{"a": "\\u0000"}'}, "'a'"), ({"workflow_params": "{"}, "workflow_params"),
    ({"workflow_params": "[1]"}, "workflow_params"), ({"workflow_attachment": "text"}, "workflow_attachment"),
    ({"workflow_engine_parameters": '{"profil": "x"}'}, "profil"),
    ({"workflow_engine_parameters": '{"pin": "for ever"}'}, "pin"),
    ({"workflow_engine_parameters": '{"pin": [true]}'}, "pin"),
    ({"workflow_type": "PY", "workflow_type_version": "2.7"}, "2.7"),
])
def test_requests_that_are_malformed(web: Web, change: dict[str, str | None], named: str):
    """Each field that is missing, unknown or unsupported is a 400 that names it."""
    fields = {k: v for k, v in {**GOOD, **change}.items() if v is not None}
    error = schema.check_error(web.api("ada")("POST", "/runs", data=fields), 400)
    assert named in error["msg"]


def test_attachments_of_one_name(web: Web):
    """Two attachments of one name are refused: one of them would be lost without a word."""
    files = [("workflow_attachment", ("a.csv", text)) for text in (b"1", b"2")]
    error = schema.check_error(web.api("ada")("POST", "/runs", data=GOOD, files=files), 400)
    assert error["msg"] == "two attachments have the name 'a.csv'"


def test_errors_have_message_and_code(web: Web):
    """400, 401, 403 and 404 of every endpoint have `msg` and `status_code`."""
    name = run_in(web, S.FAILED)
    for path in ("", f"/{name}", f"/{name}/status", f"/{name}/tasks", f"/{name}/tasks/x"):
        schema.check_error(web.client.get(f"{API}/runs{path}"), 401)
    ask = web.api("ada")
    for path in ("/runs/gone", "/runs/gone/status", "/runs/gone/tasks", f"/runs/{name}/tasks/ab/none",
                 f"/runs/{name}/tasks/a", f"/runs/{name}/tasks/ALIGN (s1)", f"/runs/{name}/logs/x",
                 "/nothing"):
        schema.check_error(ask("GET", path), 404)
    schema.check_error(ask("POST", "/runs/gone/cancel"), 404)
    schema.check_error(web.api("eve")("POST", "/runs", data=GOOD), 403)
    schema.check_error(ask("POST", "/runs", json={}), 400)
    schema.check_error(ask("POST", f"/runs/{name}/relaunch", json={"paramz": {}}), 400)
    assert "paramz" in ask("POST", f"/runs/{name}/relaunch", json={"paramz": {}}).json()["msg"]
    schema.check_error(ask("POST", f"/runs/{name}/extend", json={"hours": 1, "hour": 2}), 400)
    half = rb'{"workflow_url": "\ud800"}'
    schema.check_error(ask("POST", f"/runs/{name}/relaunch", content=half,
                           headers={"Content-Type": "application/json"}), 400)
    for method, path in (("GET", "/runs/a%00b"), ("GET", "/runs?page_token=%00")):
        schema.check_error(ask(method, path), 400)


def test_logs_are_whole_and_can_be_read_in_ranges(web: Web):
    """A log of a megabyte comes whole; Range gives any part of it; there is no silent cut."""
    name = run_in(web, S.FAILED)
    ask = web.api("ada")
    url = f"/runs/{name}/logs/stdout"
    assert ask("GET", url).content == b"0123456789" * 100_000
    for wanted, part in (("bytes=0-9", b"0123456789"), ("bytes=999995-", b"56789"), ("bytes=-3", b"789"),
                         ("bytes=999999-2000000", b"9")):
        answer = ask("GET", url, headers={"Range": wanted})
        assert (answer.status_code, answer.content) == (206, part)
        assert answer.headers["content-range"].endswith("/1000000")
    assert ask("GET", url, headers={"Range": "bytes=1000000-"}).status_code == 416
    assert ask("GET", url, params={"offset": 999_999}).content == b"9"
    browser, _ = web.browser("ada")
    saved = browser.get(f"/a/team/executions/{name}/log/1/stdout")
    assert len(saved.content) == 1_000_000
    assert "attachment" in saved.headers["content-disposition"]


def test_outputs_are_urls_that_can_be_fetched(web: Web):
    """The outputs of a run are its published files, each with a URL; nothing else can be fetched there."""
    name = run_in(web, S.SUCCEEDED, 0)
    ask = web.api("ada")
    outputs = schema.check(ask("GET", f"/runs/{name}"), schema.RUN_LOG)["outputs"]
    assert list(outputs) == ["results/a.bam"]
    path = outputs["results/a.bam"].removeprefix(f"http://127.0.0.1{API}")
    assert ask("GET", path).content == b"BAM"
    assert web.client.get(outputs["results/a.bam"]).status_code == 401
    assert web.api("bob", "rivals")("GET", path).status_code == 404
    launch_dir = web.root.path.parent / name
    (launch_dir / "secret").write_text("x")
    (launch_dir / "results/a.bam").unlink()
    (launch_dir / "results/a.bam").symlink_to("/etc/passwd")
    for evil in ("results/a.bam", "secret", "etc/passwd", "../secret", "results/../secret", "results",
                 "%2e%2e/x", "/etc/passwd", "results/a.bam/x"):
        assert ask("GET", f"/runs/{name}/outputs/{evil}").status_code == 404, evil


def test_outputs_with_names_that_are_no_text(web: Web):
    """Published files with hostile names, also such that are not UTF-8, are listed and can be fetched; a
    browser saves them and shows none.
    """
    name = run_in(web, S.SUCCEEDED, 0)
    launch_dir = web.root.path.parent / name
    (launch_dir / "results/a.bam").unlink()
    folder = launch_dir / "results/a.bam"  # what was published is a folder now
    folder.mkdir()
    hostile = ['"><img src=x onerror=alert(1)>.html', "javascript:alert(1)", "a\rSet-Cookie: x=1", "%2e%2e",
               "a\nb", "\n", "\nend\n\n", "\r\n\r\n<script>", " ", "?q=1", "#x", "a;b", "\\..", "%00",
               "\x1b[31m", "\u2028", "\u202etxt.exe", "...", "a+b", "c:d"]
    for each in hostile:
        (folder / each).write_text("x")
    (folder / os.fsdecode(b"caf\xe9.txt")).write_text("x")
    ask = web.api("ada")
    outputs = schema.check(ask("GET", f"/runs/{name}"), schema.RUN_LOG)["outputs"]
    assert len(outputs) == len(hostile) + 1
    for url in outputs.values():
        found = ask("GET", url.removeprefix(f"http://127.0.0.1{API}"))
        assert (found.status_code, found.content) == (200, b"x"), url
        assert found.headers["content-disposition"].startswith("attachment; filename*=UTF-8''")
        assert found.headers["x-content-type-options"] == "nosniff"
        assert "set-cookie" not in found.headers
    browser, _ = web.browser("eve")
    assert "<img src=x" not in browser.get(f"/a/team/executions/{name}").text


def test_the_document_names_every_endpoint(web: Web):
    """openapi.json has every endpoint of WES 1.1, and the fields of a run request."""
    paths = web.client.get(f"{API}/openapi.json").json()["paths"]
    for path in ("/service-info", "/runs", "/runs/{run_id}", "/runs/{run_id}/status", "/runs/{run_id}/tasks",
                 "/runs/{run_id}/tasks/{task_id}", "/runs/{run_id}/cancel"):
        assert API + path in paths, path
    body = paths[f"{API}/runs"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert set(run_requests.FIELDS) == set(body["properties"])
