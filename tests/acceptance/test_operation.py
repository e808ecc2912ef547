"""What an operator sees of a server: logs, health, metrics, systemd; and that it ends when it is told to."""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.test_server import needs, serving, submit
from tests.conftest import BIN, PROJECT, Site, until

pytestmark = pytest.mark.slow


def metric_names(text: str) -> set[str]:
    return {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}


def test_health_needs_no_token_and_metrics_need_an_owners(site: Site):
    """/healthz and /readyz answer anybody and tell no detail; /metrics answers an owner's token only."""
    site.ok("user", "add", "eve")
    site.ok("user", "role", "eve", "team", "viewer")
    viewer = site.ok("token", "create", "--user", "eve").out.strip()
    site.ok("doctor", "--mark-root")
    with serving(site) as server:
        assert httpx.get(f"{server.url}/healthz").json() == {"status": "alive"}
        until(lambda: httpx.get(f"{server.url}/readyz").status_code == 200, 20, "a ready server")
        ready = httpx.get(f"{server.url}/readyz").json()
        assert ready == {"status": "ready", "checks": {"database": True, "root": True, "sweep": True}}

        def scrape(token: str) -> httpx.Response:
            return httpx.get(f"{server.url}/metrics", headers={"Authorization": f"Bearer {token}"})

        assert httpx.get(f"{server.url}/metrics").status_code == 401
        assert scrape(viewer).status_code == 403
        found = scrape(server.token)
        assert found.status_code == 200
        assert "nfresume_sweep_age_seconds" in metric_names(found.text)
        (site.root / ".nfresume").rename(site.root / ".away")
        until(lambda: httpx.get(f"{server.url}/readyz").status_code == 503, 20, "a server that is not ready")
        assert httpx.get(f"{server.url}/readyz").json()["checks"]["root"] is False
        assert httpx.get(f"{server.url}/healthz").status_code == 200
        (site.root / ".away").rename(site.root / ".nfresume")


def test_metrics_say_what_happened(site: Site):
    """After a failure the metrics count it, its bytes, its cost and the requests; names are those of
    deploy/.
    """
    with serving(site) as server:
        run = submit(server, site.pipeline("fail-late"), {}, storage_expiration_hours=5)
        assert server.ended(run) == "EXECUTOR_ERROR"

        def scrape() -> str:
            authorization = {"Authorization": f"Bearer {server.token}"}
            return httpx.get(f"{server.url}/metrics", headers=authorization).text

        def value(name: str, **labels: str) -> float:
            return sum(s.value for family in text_string_to_metric_families(scrape()) for s in family.samples
                       if s.name == name and labels.items() <= s.labels.items())

        until(lambda: value("nfresume_retained_bytes") > 0, 30, "the size of the work dir")
        assert value("nfresume_executions", state="failed") == 1
        assert value("nfresume_retained_cost_per_month", currency="USD") > 0
        launches = {"route": "/ga4gh/wes/v1/runs", "method": "POST", "status": "2xx"}
        assert value("nfresume_request_seconds_count", **launches) == 1
        text = scrape()
    names = metric_names(text) | {"up", "process_resident_memory_bytes"}
    used = set(re.findall(r"\b(?:nfresume|process)_\w+", (PROJECT / "deploy/alerts.yml").read_text()))
    used |= set(re.findall(r"\b(?:nfresume|process)_\w+", (PROJECT / "deploy/dashboard.json").read_text()))
    assert used - names == set()


def test_the_alerts_and_the_dashboard():
    """promtool accepts the alerts, and every expression of the dashboard."""
    promtool = needs("promtool")
    done = subprocess.run([promtool, "check", "rules", str(PROJECT / "deploy/alerts.yml")],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    dashboard = json.loads((PROJECT / "deploy/dashboard.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    records = [{"record": f"x:{number}", "expr": text} for number, text in enumerate(expressions)]
    rules = {"groups": [{"name": "x", "rules": records}]}
    done = subprocess.run([promtool, "check", "rules", "/dev/stdin"], input=json.dumps(rules),
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_log_as_json(site: Site):
    """Every line is JSON with time, level and logger; requests have an id; no secret and no control
    character.
    """
    site.pipeline("scratch")
    with serving(site, "--log-level", "debug", NFRESUME_LOG_FORMAT="json") as server:
        answer = server.ask("GET", "/runs", params={"page_token": "x"})
        httpx.get(f"{server.url}/login", params={"token": "nfr_hush"})
        httpx.get(f"{server.url}/a/te%1b%5b31mam/executions%0a{{}}")
        run = submit(server, site.launch_dir / "scratch", {}, storage_expiration_hours=0)
        assert server.ended(run) == "COMPLETE"
        until(lambda: any(run in line for line in server.stderr), 20, "a line about the run")
        time.sleep(0.5)
    lines = [json.loads(line) for line in server.stderr if not line.startswith("nfresume: log in with")]
    assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)
    by_request = {line["request"]: line for line in lines if "request" in line}
    assert by_request[answer.headers["x-request-id"]]["account"] == "team"
    text = "".join(line for line in server.stderr if not line.startswith("nfresume: log in with"))
    assert "nfr_" not in text
    assert "\x1b" not in text
    supervisor = (site.root / "team" / run / "attempts/1/supervisor.log").read_text().splitlines()
    about = [json.loads(line) for line in supervisor]
    assert {(line["execution"], line["account"], line["attempt"]) for line in about} == {(run, "team", 1)}


def test_a_fault_of_a_supervisor_is_shown(site: Site):
    """A supervisor that dies of a bug leaves its traceback where `show` and the console find it."""
    site.pipeline("scratch")
    broken = site.base / "broken/sitecustomize.py"
    broken.parent.mkdir()
    broken.write_text(
        "import sys\n"
        "if 'nfresume.runs.supervisor' in sys.orig_argv:\n"
        "    import nfresume.runs.programs as programs\n"
        "    def argv(*_): raise ZeroDivisionError('a bug')\n"
        "    programs.argv = argv\n")
    started = site.start("launch", "scratch", PYTHONPATH=str(broken.parent), NFRESUME_LEASE_SECONDS="2")
    run = site.show()["id"]
    fault = site.root / "team" / run / "attempts/1/fault.txt"
    until(fault.exists, 30, "the traceback")
    started.send_signal(signal.SIGTERM)
    started.communicate(timeout=60)
    shown = site.ok("show", run).out
    assert "ZeroDivisionError: a bug" in shown
    assert "please report it" in shown


def test_it_ends_when_nobody_reads_its_messages(site: Site):
    """SIGTERM ends a server whose standard error nobody reads any more."""
    read, write = os.pipe()
    child = subprocess.Popen([str(BIN / "nfresume"), "serve", "--port", "0", "--every", "1"], env=site.env,
                             cwd=site.launch_dir, stdout=subprocess.DEVNULL, stderr=write)
    os.close(write)
    with os.fdopen(read) as stderr:
        until(lambda: "log in with" in stderr.readline(), 30, "the server")
    time.sleep(1.5)  # it has something to say at its sweeps, and at its end
    child.send_signal(signal.SIGTERM)
    assert child.wait(20) == 0


def test_it_tells_systemd(site: Site):
    """systemd hears READY, then WATCHDOG again and again, and STOPPING."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(site.base / "notify"))
        listener.settimeout(20)
        with serving(site, NOTIFY_SOCKET=str(site.base / "notify"), WATCHDOG_USEC="1000000"):
            heard = [listener.recv(100).decode() for _ in range(3)]
        assert heard == ["READY=1", "WATCHDOG=1", "WATCHDOG=1"]
        last = heard[-1]
        while last == "WATCHDOG=1":
            last = listener.recv(100).decode()
        assert last == "STOPPING=1"


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")
def test_any_thread_may_get_the_signal(site: Site):
    """The system gives SIGTERM to any thread; the server ends in order all the same."""
    with serving(site) as server:
        httpx.get(f"{server.url}/healthz")
        threads = {int(each.name) for each in Path(f"/proc/{server.pid}/task").iterdir()} - {server.pid}
        assert len(threads) > 2
        for thread in sorted(threads):  # the last of them may have ended by then
            ctypes.CDLL(None).tgkill(server.pid, thread, signal.SIGTERM)
    assert any("stopping" in line for line in server.stderr)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")
def test_a_run_of_a_server_gets_signals(site: Site):
    """No process of a run that the web launches blocks SIGTERM or SIGINT: tools and `timeout` need them."""
    pipeline = site.pipeline("slow")
    both = 1 << signal.SIGTERM - 1 | 1 << signal.SIGINT - 1
    with serving(site) as server:
        run = submit(server, pipeline, {})
        until(lambda: list((site.root / "team" / run).glob("work/*/*/slow.1")), 60, "the slow task")
        masks = {" ".join(each.cmdline()): (Path(f"/proc/{each.pid}/status")).read_text()
                 for each in site.processes() if each.pid != server.pid}
        server.ask("POST", f"/runs/{run}/cancel")
        assert server.ended(run) == "CANCELED"
    assert len(masks) > 3  # the supervisor, the shim, Nextflow, its task
    blocked = {command: int(re.search(r"SigBlk:\s*(\w+)", state)[1], 16) for command, state in masks.items()}
    assert {command: hex(mask) for command, mask in blocked.items() if mask & both} == {}


def test_an_ipv6_address(site: Site):
    """`--host ::1` binds, and its link works."""
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
    with serving(site, "--host", "::1") as server:
        assert server.url.startswith("http://[::1]:")
        assert httpx.get(f"{server.url}/healthz").status_code == 200
        assert httpx.get(server.link).status_code == 200


def test_the_audit_command(site: Site):
    """`nfresume audit` prints who did what: as text for the account, as JSON for the site."""
    site.ok("user", "add", "eve")
    site.ok("user", "role", "eve", "team", "editor")
    site.ok("user", "disable", "eve")
    site.ok("user", "enable", "eve")
    site.ok("sessions", "end", "--user", "eve")
    site.ok("user", "remove", "eve")
    assert "role" in site.ok("audit").out
    names = [row["name"] for row in site.ok("audit", "--everything", "--since", "1h", "--json").json()]
    assert names[:4] == ["user_remove", "user_remove", "sessions_end", "user_enable"]
