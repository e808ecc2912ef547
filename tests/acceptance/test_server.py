"""`nfresume serve` with real runs: a foreign WES client, events, fuzzing, several servers."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import BIN, PROJECT, Site, until
from tests.serving import Running, serve

pytestmark = pytest.mark.slow
API = "/ga4gh/wes/v1"


@dataclass
class Server(Running):
    """A running server, and a token for account team."""

    token: str = ""

    def ask(self, method: str, path: str, **words: Any) -> httpx.Response:
        return httpx.request(method, f"{self.url}{API}{path}", timeout=60,
                             headers={"Authorization": f"Bearer {self.token}"}, **words)

    def ended(self, run_id: str, seconds: float = 60) -> str:
        """Wait until a run has ended; returns its state."""
        def state() -> str:
            now = self.ask("GET", f"/runs/{run_id}/status").json()["state"]
            return "" if now in ("QUEUED", "RUNNING", "CANCELING") else now

        return until(state, seconds, f"the end of {run_id}")


@contextmanager
def serving(site: Site, *words: str, **env: str) -> Iterator[Server]:
    with serve(site, *words, **env) as running:
        token = site.ok("token", "create", "--account", "team").out.strip()
        yield Server(**vars(running), token=token)


@pytest.fixture
def server(site: Site) -> Iterator[Server]:
    with serving(site) as running:
        yield running


def submit(server: Server, pipeline: Path, params: dict[str, Any], **engine: Any) -> str:
    sent = server.ask("POST", "/runs", data={
        "workflow_url": str(pipeline), "workflow_type": "NFL", "workflow_type_version": "DSL2",
        "workflow_params": json.dumps(params), "workflow_engine_parameters": json.dumps(engine),
        "tags": json.dumps({"project": "x"}),
    })
    assert sent.status_code == 200, sent.text
    return sent.json()["run_id"]


def test_a_failed_run_is_relaunched_by_the_api(site: Site, server: Server):
    """By the API: launch, failure, tasks with their output, live events, relaunch, success, costs."""
    pipeline = site.pipeline("fail-late")
    run = submit(server, pipeline, {"outdir": "results"}, storage_expiration_hours=48)
    events: list[dict[str, Any]] = []

    def listen() -> None:
        with httpx.stream("GET", f"{server.url}{API}/events", params={"run_id": run}, timeout=60,
                          headers={"Authorization": f"Bearer {server.token}"}) as stream:
            for line in stream.iter_lines():
                if line.startswith("data: "):
                    events.append(json.loads(line.removeprefix("data: ")))
                if any(event.get("what") == "succeed" for event in events):
                    return

    listener = threading.Thread(target=listen)
    listener.start()
    assert server.ended(run) == "EXECUTOR_ERROR"
    log = server.ask("GET", f"/runs/{run}").json()
    assert (log["run_log"]["exit_code"], log["request"]["workflow_params"]) == (1, {"outdir": "results"})
    assert log["request"]["workflow_engine_parameters"]["storage_expiration_hours"] == "48"
    tasks = server.ask("GET", f"/runs/{run}/tasks").json()["task_logs"]
    failed = [task for task in tasks if task["system_state"] == "FAILED"]
    assert [task["name"] for task in failed] == ["REPORT"]
    assert server.ask("GET", f"/runs/{run}/tasks/{failed[0]['id']}").json() == failed[0]
    script = failed[0]["stdout"].removeprefix(server.url + API).replace("/stdout", "/script")
    assert "gc_contnet" in server.ask("GET", script).text
    assert "ERROR ~" in server.ask("GET", f"/runs/{run}/logs/stdout").text
    text = (pipeline / "main.nf").read_text()
    (pipeline / "main.nf").write_text(text.replace("gc_contnet", "gc_content"))
    assert server.ask("POST", f"/runs/{run}/relaunch", json={}).status_code == 200
    assert server.ended(run) == "COMPLETE"
    tasks = server.ask("GET", f"/runs/{run}/tasks").json()["task_logs"]
    assert [task["system_state"] for task in tasks].count("CACHED") == 7
    listener.join(30)
    names = [event["what"] for event in events if event["type"] == "event"]
    assert names.index("fail") < names.index("relaunch") < names.index("succeed")
    assert {event["id"] for event in events if event["type"] != "closing"} == {run}
    assert server.ask("GET", "/costs", params={"by": "pipeline"}).json()["by"] == "pipeline"
    url = server.ask("GET", f"/runs/{run}").json()["outputs"]["results/report.csv"]
    assert server.ask("GET", url.removeprefix(server.url + API)).text.startswith("sample,bases,gc_content")


def test_attachments_cancel_and_a_stop_of_the_server(site: Site):
    """An attached workflow runs; its execution outlives the server; another server cancels it."""
    script = (site.pipeline("slow") / "main.nf").read_bytes()
    with serving(site) as server:
        sent = server.ask("POST", "/runs", data={"workflow_url": "main.nf", "workflow_type": "NFL",
                                                 "workflow_type_version": "DSL2"},
                          files=[("workflow_attachment", ("main.nf", script))])
        run = sent.json()["run_id"]
        until(lambda: server.ask("GET", f"/runs/{run}/tasks").json()["task_logs"], 60, "a task")
    assert site.show(run)["state"] == "RUNNING"
    with serving(site) as server:
        assert server.ask("GET", f"/runs/{run}/status").json()["state"] == "RUNNING"
        assert server.ask("POST", f"/runs/{run}/cancel").json() == {"run_id": run}
        assert server.ended(run) == "CANCELED"


def test_a_wes_client_that_is_not_ours(site: Site, server: Server):
    """wes_client of the Common Workflow Language project reads and cancels runs; it cannot submit NFL."""
    from wes_client.util import WESClient

    client = WESClient({"auth": {"Authorization": f"Bearer {server.token}"}, "proto": "http",
                        "host": server.url.removeprefix("http://")})
    assert "1.1.0" in client.get_service_info()["supported_wes_versions"]
    run = submit(server, site.pipeline("scratch"), {})
    until(lambda: client.get_run_status(run)["state"] == "COMPLETE", 60)
    assert run in [found["run_id"] for found in client.list_runs()["runs"]]
    assert client.get_run_log(run)["run_log"]["exit_code"] == 0
    slow = submit(server, site.pipeline("slow"), {})
    until(lambda: client.get_run_status(slow)["state"] == "RUNNING", 60)
    assert client.cancel(slow) == {"run_id": slow}
    until(lambda: client.get_run_status(slow)["state"] == "CANCELED", 60)


@pytest.mark.long
def test_a_second_wes_client(site: Site, server: Server):
    """gxy-wes, a client of the Galaxy project, runs an attached workflow,
    sees it fail and its tasks; relaunched
    by our extension, it sees it complete."""
    from gxy_wes.client import FAILURE_STATES, WesClient

    client = WesClient(server.url)
    assert "NFL" in client.service_info()["workflow_type_versions"]  # it sends no token here
    client.session.headers["Authorization"] = f"Bearer {server.token}"
    flag = site.base / "repaired"
    script = site.base / "flaky.nf"
    script.write_text(f"process A {{ output: path 'a.txt'\n script: 'test -e {flag}; echo 1 > a.txt' }}\n"
                      "workflow { A() }\n")
    run = client.submit_run(workflow_type="NFL", workflow_type_version="DSL2", workflow_path=str(script),
                            workflow_url="flaky.nf", engine_parameters={"storage_expiration_hours": 5})
    run = run["run_id"]
    until(lambda: client.get_run_status(run)["state"] in FAILURE_STATES, 60, "the failure")
    assert client.get_run(run)["state"] == "EXECUTOR_ERROR"
    [task] = client.get_run_tasks(run)["task_logs"]
    assert client.get_run_task(run, task["id"]) == task
    assert run in [found["run_id"] for found in client.list_runs()["runs"]]
    flag.touch()
    assert server.ask("POST", f"/runs/{run}/relaunch", json={}).status_code == 200
    until(lambda: client.get_run_status(run)["state"] == "COMPLETE", 60, "the success")
    slow = submit(server, site.pipeline("slow"), {})
    until(lambda: client.get_run_status(slow)["state"] == "RUNNING", 60, "the slow run")
    assert client.cancel_run(slow) == {"run_id": slow}
    until(lambda: client.get_run_status(slow)["state"] == "CANCELED", 60, "its end")


@pytest.mark.long
def test_the_document_and_the_answers_agree(site: Site):
    """schemathesis sends valid and invalid requests: no server error, and no answer against the document."""
    with serving(site, "--no-scheduler") as server:
        done = subprocess.run(
            ["schemathesis", "run", f"{server.url}{API}/openapi.json", "-n", "15", "--seed", "1",
             "-H", f"Authorization: Bearer {server.token}", "--suppress-health-check", "all",
             "--exclude-path", f"{API}/events", "--exclude-checks", "positive_data_acceptance"],
            env=site.env, cwd=site.launch_dir, capture_output=True, text=True, timeout=250)
        assert done.returncode == 0, done.stdout[-5000:]


NGINX = """
daemon off; pid {base}/nginx.pid; error_log {base}/nginx.log; events {{}}
http {{
  access_log off;
  client_body_temp_path {base}/t1; proxy_temp_path {base}/t2; fastcgi_temp_path {base}/t3;
  uwsgi_temp_path {base}/t4; scgi_temp_path {base}/t5;
  server {{ listen 127.0.0.1:{port}; {location} }}
}}
"""


def needs(program: str) -> str:
    """The path of a program of a Debian package. Without it the test is skipped, and fails in CI."""
    found = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"needs {program}: tests/install.sh")
    return found


@contextmanager
def proxied(site: Site, server: Server) -> Iterator[str]:
    """A real nginx with the `location` of deploy/README.md in front of a server; yields its URL."""
    nginx = needs("nginx")
    text = (PROJECT / "deploy/README.md").read_text()
    location = re.search(r"```nginx\n(.*?)```", text, re.DOTALL)
    assert location is not None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    conf = site.base / "nginx.conf"
    conf.write_text(NGINX.format(
        base=site.base, port=port, location=location[1].replace("http://127.0.0.1:8765", server.local)))
    proxy = subprocess.Popen([nginx, "-c", str(conf), "-p", str(site.base)])
    try:
        until(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0, what="nginx")
        yield f"http://127.0.0.1:{port}"
    finally:
        proxy.terminate()
        assert proxy.wait(20) == 0


def test_behind_a_reverse_proxy(site: Site):
    """Behind nginx as in deploy/README.md: its Host is accepted, events come at once, and failed log-ins are
    limited by the client's address."""
    site.pipeline("scratch")
    with serving(site, "--no-scheduler", NFRESUME_WEB_URL="https://console.example.org") as server:
        assert server.url == "https://console.example.org"
        headers = {"Host": "console.example.org", "Authorization": f"Bearer {server.token}"}
        with proxied(site, server) as url:
            assert httpx.get(f"{url}{API}/runs", headers=headers).status_code == 200
            assert httpx.get(url, headers={"Host": "evil.example.org"}).status_code == 400
            attached = httpx.post(
                f"{url}{API}/runs", headers=headers, timeout=60, files={"workflow_attachment": (
                    "a.csv", b"x" * 20_000_000)}, data={"workflow_url": "none.nf", "workflow_type": "NFL",
                                                        "workflow_type_version": "DSL2"})
            assert (attached.status_code, "none.nf" in attached.text) == (404, True)
            with httpx.stream("GET", f"{url}{API}/events", headers=headers, timeout=60) as stream:
                assert stream.status_code == 200
                site.ok("launch", "scratch")
                assert any("launch" in line for line in stream.iter_lines() if line.startswith("data: "))

        def guess(address: str) -> int:
            return httpx.get(f"{server.local}{API}/runs", headers={
                "Host": "console.example.org", "X-Forwarded-For": address, "X-Forwarded-Proto": "https",
                "Authorization": "Bearer nfr_wrong"}).status_code

        assert [guess("192.0.2.1") for _ in range(25)][-1] == 429
        assert guess("192.0.2.2") == 401


@pytest.mark.parametrize(("name", "drop_in"), [
    ("nfresume.service", ""), ("nfresume@.service", ""), ("nfresume.service", "run-as.conf")])
def test_the_systemd_units(tmp_path: Path, name: str, drop_in: str):
    """systemd accepts the units of deploy/, and rates their exposure at 3.0 or less of 10."""
    analyze = needs("systemd-analyze")
    unit = tmp_path / name.replace("@", "@daemon")
    text = (PROJECT / "deploy" / name).read_text().replace("/opt/nfresume/bin", str(BIN))
    if drop_in:  # systemd reads it after the unit; it has one section
        text = text.replace("[Install]", f"{(PROJECT / 'deploy' / drop_in).read_text()}\n[Install]")
    unit.write_text(text)
    done = subprocess.run([analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    done = subprocess.run([analyze, "security", "--offline=true", "--no-pager", str(unit)],
                          capture_output=True, text=True)
    exposure = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
    assert exposure is not None, done.stdout + done.stderr
    assert float(exposure[1]) <= 3.0


@pytest.mark.parametrize("name", ["nfresume.service", "nfresume@.service"])
def test_the_units_spare_the_executions(name: str):
    """A restart of the unit, or a task that is killed for its memory, takes nothing away from executions."""
    sparing = {"KillMode=process", "PrivateTmp=no", "RemoveIPC=no", "OOMPolicy=continue", "TasksMax=infinity"}
    assert sparing - set((PROJECT / "deploy" / name).read_text().splitlines()) == set()


def test_the_command_of_the_unit(site: Site):
    """The command of the unit starts a server that ends on SIGTERM."""
    text = (PROJECT / "deploy/nfresume.service").read_text()
    command = re.search(r"^ExecStart=\S+ serve (.*)$", text, re.MULTILINE)
    assert command is not None
    with serving(site, *command[1].replace("--port 8765", "").split()) as server:
        assert server.ask("GET", "/service-info").status_code == 200


def test_the_steps_of_deploy(site: Site):
    """Every command of deploy/README.md runs, its settings are valid, and the container brings all extras."""
    text = (PROJECT / "deploy/README.md").read_text()
    toml = re.search(r"```toml\n(.*?)```", text, re.DOTALL)
    assert toml is not None
    conf = site.base / "nfresume.toml"
    shown = tomllib.loads(toml[1])
    conf.write_text(toml[1])
    assert site.ok("config", "--json").json()["web_pipelines"]["value"] == "; ".join(shown["web_pipelines"])
    conf.write_text("")
    site.root.mkdir()
    blocks = "\n".join(re.findall(r"```console\n(.*?)```", text, re.DOTALL))
    commands = re.findall(r"^ *\$ (.+)$", blocks, re.M)
    assert len(commands) > 7
    for command in commands:
        assert site.ok(*command.split()[1:]).code == 0
    assert "[engine,postgresql,oidc]" in (PROJECT / "deploy/Containerfile").read_text()


CURIOUS = r"""
process LOOK {
  output: stdout
  script: '''
  env
  cat /proc/[0-9]*/cmdline | tr '\\0' ' '
  '''
}
workflow { LOOK() | view }
"""


def test_no_secret_leaves_the_server(site: Site):
    """Case 64: no secret of the settings is in a task's environment, a process's arguments or a log."""
    (site.launch_dir / "curious").mkdir()
    (site.launch_dir / "curious/main.nf").write_text(CURIOUS)
    hidden = {"NFRESUME_OIDC_ISSUER": "https://login.example.org", "NFRESUME_OIDC_CLIENT_ID": "console",
              "NFRESUME_OIDC_CLIENT_SECRET": "hush-oidc", "NFRESUME_WEB_URL": "https://console.example.org",
              "NFRESUME_NOTIFY": "json://user:hush-notify@127.0.0.1:9/"}
    with serving(site, **hidden) as server:
        headers = {"Host": "console.example.org", "Authorization": f"Bearer {server.token}"}
        sent = httpx.post(f"{server.local}{API}/runs", timeout=60, headers=headers, files={
            name: (None, value) for name, value in {
                "workflow_url": str(site.launch_dir / "curious"), "workflow_type": "NFL",
                "workflow_type_version": "DSL2"}.items()})
        run = sent.json()["run_id"]
        until(lambda: site.show(run)["state"] not in ("QUEUED", "RUNNING"), 60)
        stderr = "".join(server.stderr)
    assert site.show(run)["state"] == "SUCCEEDED"
    place = site.root / "team" / run
    everything = b"".join(path.read_bytes() for path in place.rglob("*") if path.is_file()) + stderr.encode()
    assert b"NFRESUME_RUN=" in everything  # the task did print its environment
    assert b"nfresume.runs.supervisor" in everything
    for secret in ("hush-oidc", "hush-notify", server.token):
        assert secret.encode() not in everything


@pytest.mark.parametrize(("url", "params"), [
    ("-h", "{}"), ("--outdir=/", "{}"), ("a\nb", "{}"), ("a\0b", "{}"),
    ("main.nf", json.dumps({"x": "y" * 5_000_000})), ("main.nf", "[1]"), ("main.nf", '{"a"'),
], ids=["option", "parameter", "line break", "NUL", "5 MB", "list", "no JSON"])
def test_input_that_is_refused(server: Server, site: Site, url: str, params: str):
    """Case 63: bad input is answered by a problem document; nothing is launched or left on disk."""
    sent = server.ask("POST", "/runs", files={name: (None, value) for name, value in {
        "workflow_url": url, "workflow_type": "NFL", "workflow_type_version": "DSL2",
        "workflow_params": params}.items()})
    assert 400 <= sent.status_code < 500, sent.text
    assert sent.headers["content-type"] == "application/problem+json"
    assert {"title", "status", "detail"} <= set(sent.json())
    assert server.ask("GET", "/runs").json()["runs"] == []
    launches = Path(site.env["NFRESUME_WEB_LAUNCHES"])
    assert not launches.exists() or not any(launches.rglob("*"))


@pytest.mark.long
def test_two_servers_on_one_database(site: Site):
    """A token of one server is valid on the other, and an event of one is sent to listeners of the other."""
    with serving(site) as one, serving(site) as two:
        pipeline = site.pipeline("scratch")
        heard: list[str] = []

        def listen() -> None:
            with httpx.stream("GET", f"{two.url}{API}/events", timeout=60,
                              headers={"Authorization": f"Bearer {one.token}"}) as stream:
                for line in stream.iter_lines():
                    heard.append(line)
                    if '"succeed"' in line:
                        return

        listener = threading.Thread(target=listen)
        listener.start()
        until(lambda: heard, what="the stream to begin")
        time.sleep(0.2)  # the first poll takes in what happened before
        run = submit(one, pipeline, {})
        listener.join(60)
        assert any(run in line and '"succeed"' in line for line in heard)
        assert two.ended(run) == "COMPLETE"
