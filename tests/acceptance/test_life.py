"""The main job with real Nextflow: launch, keep, relaunch, delete, expire."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from nfresume.nextflow.trace import rows
from tests.acceptance.conftest import run_plain
from tests.conftest import BIN, FIXTURES, Site, snapshot, until

pytestmark = pytest.mark.slow


def fix(pipeline: Path) -> None:
    script = pipeline / "main.nf"
    text = script.read_text()
    assert "gc_contnet" in text
    script.write_text(text.replace("gc_contnet", "gc_content"))


def test_fail_fix_relaunch(site: Site, plain_nextflow: Path):
    """After a failure of the last task, a fix and a relaunch only that task runs; the work dir is deleted."""
    pipeline = site.pipeline("fail-late")
    failed = site.run("launch", str(pipeline), "--storage-expiration-hours", "48")
    assert failed.code == 1
    lines = failed.err.splitlines()
    assert "kept 48 h after a failure (--storage-expiration-hours)" in lines[1]
    assert re.search(r"nfresume relaunch fail-late-\w{6}$", lines[-1])
    e = site.show()
    assert (e["state"], e["work_dir"]["state"]) == ("FAILED", "RETAINED")
    assert (e["storage_expiration_hours"], e["storage_expiration_source"]) == (
        48, "--storage-expiration-hours")
    ended = datetime.fromisoformat(e["attempts"][0]["ended_at"])
    assert datetime.fromisoformat(e["work_dir"]["expires_at"]) - ended == timedelta(hours=48)
    assert e["work_dir"]["files"] > 20
    assert e["work_dir"]["bytes"] > 1000
    assert e["attempts"][0]["tasks"] == {
        "submitted": 8, "cached": 0, "succeeded": 7, "failed": 1, "ignored": 0, "retried": 0}
    assert "REPORT" in e["attempts"][0]["error"]
    assert not Path(".nextflow").exists()
    assert sorted(os.listdir(site.launch_dir)) == ["fail-late", "results"]

    fix(pipeline)
    done = site.ok("relaunch", e["id"][:-2])
    assert "7 tasks reused" in done.err
    assert "1 rerun, 0 new" in done.err
    assert site.ok("show", e["id"], "--json").json() == {**site.show(e["id"]), "emptied": None}
    e = site.show(e["id"])
    assert (e["state"], e["work_dir"]["state"]) == ("SUCCEEDED", "DELETED")
    first, second = e["attempts"]
    assert second["tasks"] == {
        "submitted": 1, "cached": 7, "succeeded": 1, "failed": 0, "ignored": 0, "retried": 0}
    assert first["session_id"] == second["session_id"]
    assert second["run_name"] == f"{e['id']}-2"
    assert sorted(os.listdir(Path(e["work_dir"]["path"]).parent)) == ["attempts"]
    assert os.listdir(site.root / ".trash") == []

    plain = site.base / "plain"
    plain.mkdir()
    assert run_plain(plain_nextflow, plain, str(pipeline), env=site.env).returncode == 0
    assert snapshot(site.launch_dir / "results") == snapshot(plain / "results")
    assert not any(p.is_symlink() for p in (site.launch_dir / "results").rglob("*"))

    gone = site.run("relaunch", e["id"])
    assert gone.code == 81
    assert "the run succeeded" in gone.err


@pytest.mark.long
@pytest.mark.parametrize("name", [
    "publish-modes", "scratch", "hostile-names",
    pytest.param("error-strategies", marks=pytest.mark.long), pytest.param("modules", marks=pytest.mark.long),
])
def test_results_are_those_of_plain_nextflow(site: Site, plain_nextflow: Path, name: str):
    """Case 33: in every publish mode results outlive the work dir, and equal those of plain Nextflow."""
    pipeline = site.pipeline(name)
    done = site.ok("launch", str(pipeline))
    e = site.show()
    assert (e["state"], e["work_dir"]["state"]) == ("SUCCEEDED", "DELETED"), done.err
    plain = site.base / "plain"
    plain.mkdir()
    assert run_plain(plain_nextflow, plain, str(pipeline), env=site.env).returncode == 0
    for folder in ("results", "store"):
        ours, theirs = snapshot(site.launch_dir / folder), snapshot(plain / folder)
        assert ours == theirs
    assert ours or snapshot(site.launch_dir / "results")
    dangling = [p for p in site.launch_dir.rglob("*") if p.is_symlink() and not p.exists()]
    assert dangling == []


def test_counts_of_strategies(site: Site):
    """Case 37: retried and ignored failures are counted and shown; the run is a success."""
    site.ok("launch", str(site.pipeline("error-strategies")))
    tasks = site.show()["attempts"][0]["tasks"]
    assert tasks == {"submitted": 7, "cached": 0, "succeeded": 5, "failed": 2, "ignored": 1, "retried": 1}


@pytest.mark.long
def test_finish_strategy(site: Site):
    """With `finish` running tasks end; a relaunch reuses the tasks that completed."""
    pipeline = site.pipeline("error-strategies")
    (site.launch_dir / "broken").touch()
    failed = site.run("launch", str(pipeline), "--storage-expiration-hours", "1")
    assert failed.code == 1
    e = site.show()
    trace = Path(e["work_dir"]["path"]).parent / "attempts/1/trace.tsv"
    finished = {row.name for row in rows(trace) if row.status == "COMPLETED"} - {"FLAKY"}
    (site.launch_dir / "broken").unlink()
    again = site.ok("relaunch", e["id"])
    reused = set(re.findall(r"Cached process > (.+)", again.out))
    assert finished <= reused
    assert "Submitted process > FINISHING (1)" in again.out


@pytest.mark.long
def test_metadata_decides_and_the_own_trace_stays(site: Site):
    """The hours come from latch_metadata; the pipeline's own trace file is written as without nfresume."""
    pipeline = site.pipeline("modules")
    (pipeline / "modules/top.nf").write_text(
        (pipeline / "modules/top.nf").read_text().replace("head -5", "head -5; exit 1"))
    failed = site.run("launch", str(pipeline), "-profile", "fine")
    assert failed.code == 1
    e = site.show()
    assert e["storage_expiration_hours"] == 12
    assert e["storage_expiration_source"].endswith("latch_metadata/__init__.py")
    assert "kept 12 h after a failure" in failed.err
    assert "SCALE" in (site.launch_dir / "pipeline_info/trace.txt").read_text()
    scaled = next(Path(e["work_dir"]["path"]).glob("*/*/scaled.csv")).read_text()
    assert max(int(line.split(",")[1]) for line in scaled.splitlines()[1:]) > 100  # -profile fine
    overridden = site.run("launch", "--storage-expiration-hours", "0", str(pipeline), "-profile", "fine")
    assert overridden.code == 1
    assert "launch with --storage-expiration-hours 48" in overridden.err
    assert site.show()["work_dir"]["state"] == "DELETED"


def test_in_a_pipe_stdout_is_nextflows(site: Site, plain_nextflow: Path):
    """In a pipe stdout of `nfresume launch` is that of `nextflow run`, byte for byte except for ids."""
    pipeline = site.pipeline("scratch")
    ours = site.ok("launch", str(pipeline), "--storage-expiration-hours", "1")
    plain = site.base / "plain"
    plain.mkdir()
    theirs = run_plain(plain_nextflow, plain, str(pipeline), env=site.env)

    def neutral(text: str) -> str:
        text = re.sub(r"\[[0-9a-f]{2}/[0-9a-f]{6}\]", "[hash]", text)
        return re.sub(r"(Launching `\S+`) \[\S+\]", r"\1 [name]", text)

    assert neutral(ours.out) == neutral(theirs.stdout)
    assert all(line.startswith("nfresume: ") for line in ours.err.splitlines())


@pytest.mark.parametrize(("code", "script"), [(42, "workflow { exit 42 }"), (1, "workflow { error 'no' }")])
def test_exit_codes_are_nextflows(site: Site, code: int, script: str):
    """The exit code of `nfresume launch` is Nextflow's."""
    (site.launch_dir / "main.nf").write_text(script)
    done = site.run("launch", "main.nf")
    assert done.code == code
    assert site.show()["attempts"][0]["exit_code"] == code


def test_exit_zero_is_no_success(site: Site):
    """Case 36: exit status 0 before the workflow ended is a failure, and its work dir is held.

    Where no task ran, as with a `--help` that ends in `exit 0`, nothing can be lost: a success.
    """
    assert site.run("launch", str(site.pipeline("exit-zero"))).code == 0
    e = site.show()
    assert (e["state"], e["work_dir"]["state"]) == ("SUCCEEDED", "DELETED")
    (site.launch_dir / "late.nf").write_text("""
process ONE { publishDir 'results'
  output: path 'x.txt'
  script: "echo 1 > x.txt" }
workflow { ONE() | map { exit 0 } }
""")
    done = site.run("launch", "late.nf")
    assert done.code == 70
    e = site.show()
    assert (e["state"], e["work_dir"]["state"], e["work_dir"]["expires_at"]) == ("FAILED", "RETAINED", None)
    assert "until you decide" in done.err
    assert "keep" in site.ok("sweep").out
    site.ok("delete", e["id"], "--yes")
    assert site.show()["work_dir"]["state"] == "DELETED"


def test_published_inside_the_work_dir(site: Site):
    """Case 34: a result that cannot be materialised holds the work dir; --lose-results deletes both."""
    done = site.ok("launch", str(site.pipeline("publish-inside-work")))
    e = site.show()
    assert (e["state"], e["work_dir"]["state"]) == ("SUCCEEDED", "RETAINED")
    assert "would be lost" in e["work_dir"]["reason"]
    assert "published/result.txt" in done.err
    assert "keep" in site.ok("sweep").out  # it waits a minute before it looks again
    refused = site.run("delete", e["id"], "--yes")
    assert refused.code == 75
    assert (Path(e["work_dir"]["path"]) / "published/result.txt").read_text() == "precious\n"
    site.ok("delete", e["id"], "--yes", "--lose-results")
    assert site.show()["work_dir"]["state"] == "DELETED"


@pytest.mark.long
def test_expiry_by_sweep(site: Site):
    """A sweep deletes only work dirs that are due; their results are real since the run ended."""
    slow = str(site.pipeline("slow"))
    assert site.run("launch", slow, "--seconds", "x", "--storage-expiration-hours", "5").code == 1
    pipeline = site.pipeline("fail-late")
    assert site.run("launch", str(pipeline), "--storage-expiration-hours", "0.0004").code == 1  # 1.44 s
    due = site.show()
    until(lambda: datetime.now(UTC) > datetime.fromisoformat(due["work_dir"]["expires_at"]))
    results = site.launch_dir / "results/per-sample"
    assert not (results / "liver.gc.csv").is_symlink()
    before = snapshot(results)
    assert len(before) == 3
    plan = site.ok("sweep", "--dry-run", "--json").json()
    assert {line["execution"]["id"]: line["action"] for line in plan}[due["id"]] == "delete"
    assert site.show(due["id"])["work_dir"]["state"] == "RETAINED"
    site.ok("sweep")
    e = site.show(due["id"])
    assert (e["work_dir"]["state"], e["work_dir"]["reason"]) == ("DELETED", "expired")
    assert (e["deletion"]["rule"], e["deletion"]["ordered_by"].partition("@")[0]) == ("expire", "sweeper")
    assert "by its expiry, ordered by sweeper@" in site.ok("show", due["id"]).out
    assert snapshot(results) == before
    assert not (results / "liver.gc.csv").is_symlink()
    assert {x["work_dir"]["state"] for x in site.ok("list", "--json").json()} == {"DELETED", "RETAINED"}
    refused = site.run("relaunch", due["id"])
    assert (refused.code, "expired" in refused.err) == (81, True)


def test_serve_expires_by_schedule(site: Site):
    """Case 51: `serve` first sweeps what expired while no server ran; SIGTERM ends it cleanly."""
    pipeline = str(site.pipeline("fail-late"))
    assert site.run("launch", pipeline, "--storage-expiration-hours", "0.0001").code == 1
    two = [site.start("serve", "--no-web", "--every", "0.3") for _ in range(2)]  # several at once are safe
    until(lambda: site.show()["work_dir"]["state"] == "DELETED")
    for server in two:  # while Python is still starting, SIGTERM would kill it
        assert server.stderr is not None
        while "sweeping every" not in (line := server.stderr.readline()):
            assert line, "the server ended"
    for server in two:
        server.send_signal(signal.SIGTERM)
        _, err = server.communicate(timeout=20)
        assert server.returncode == 0, err
    names = [v["name"] for v in site.show()["events"]]
    assert names == ["launch", "claim", "fail", "results_secured", "expire", "removed"]


@pytest.mark.long
def test_pin_extend_unpin(site: Site):
    """A pinned success keeps its work dir and can be relaunched; after unpin it expires."""
    done = site.ok("launch", "--pin", str(site.pipeline("scratch")))
    assert "until it is unpinned" in done.err
    e = site.show()
    assert (e["state"], e["work_dir"]["state"], e["work_dir"]["pinned"]) == ("SUCCEEDED", "RETAINED", True)
    assert site.run("delete", e["id"], "--yes").code == 80
    again = site.ok("relaunch", e["id"])
    assert "1 task reused" in again.err
    assert site.ok("unpin", e["id"], "--json").json()["work_dir"]["expires_at"]
    extended = site.ok("extend", e["id"], "100", "--json").json()["work_dir"]["expires_at"]
    left = datetime.fromisoformat(extended) - datetime.now(UTC)
    assert 99 < left.total_seconds() / 3600 <= 100
    for bad in ("0", "-1", "soon", "1e9"):
        assert site.run("extend", e["id"], bad).code in (64, 2)
    asked = site.run("delete", e["id"])
    assert (asked.code, "--yes" in asked.err) == (64, True)
    site.ok("delete", e["id"], "--yes")


@pytest.mark.long
def test_resume_from_habit(site: Site):
    """`launch -resume` relaunches the newest failed execution of this launch dir, and says so."""
    pipeline = site.pipeline("fail-late")
    nothing = site.run("launch", str(pipeline), "-resume")
    assert (nothing.code, "WARN: -resume is ignored" in nothing.err) == (1, True)
    assert site.run("launch", str(pipeline), "--storage-expiration-hours", "1").code == 1
    fix(pipeline)
    done = site.ok("launch", str(pipeline), "-resume")
    assert "-resume: relaunching fail-late-" in done.err
    assert len(site.ok("list", "--json").json()) == 2
    assert site.show()["attempts"][1]["tasks"]["cached"] == 7


def test_expiry_without_a_server(site: Site):
    """The supervisor of a later run deletes what is due in its account; other accounts it leaves alone."""
    for account in ("team", "other"):
        (site.launch_dir / "fail.nf").write_text("process F { script: 'exit 1' }\nworkflow { F() }\n")
        site.run("launch", "--storage-expiration-hours", "0.0003", "fail.nf", NFRESUME_ACCOUNT=account)
    ids = {x["account"]: x["id"] for a in ("team", "other") for x in site.ok(
        "list", "--json", "--account", a).json()}
    expires = datetime.fromisoformat(site.show(ids["team"])["work_dir"]["expires_at"])
    until(lambda: datetime.now(UTC) > expires)
    site.ok("launch", str(site.pipeline("scratch")))
    until(lambda: site.show(ids["team"])["work_dir"]["state"] == "DELETED", what="the expiry")
    other = site.ok("show", ids["other"], "--account", "other", "--json").json()
    assert other["work_dir"]["state"] == "RETAINED"


@pytest.mark.long
def test_relaunch_of_a_fixed_copy(site: Site):
    """--pipeline runs another script in the same session; parameters stay."""
    pipeline = site.pipeline("fail-late")
    site.run("launch", str(pipeline), "--outdir", "out", "--storage-expiration-hours", "1")
    copy = site.launch_dir / "fixed"
    shutil.copytree(pipeline, copy)
    fix(copy)
    site.ok("relaunch", site.show()["id"], "--pipeline", str(copy), "--samples",
            str(pipeline / "data/samples.csv"), "--reference", str(pipeline / "data/reference.fasta"))
    assert (site.launch_dir / "out/report.csv").exists()
    assert site.show()["attempts"][1]["pipeline"] == str(copy)


@pytest.mark.long
def test_reports_and_log_where_the_user_wants_them(site: Site):
    """-with-report, -log, -with-trace, -name and -q work as in Nextflow; a relaunch overwrites no report."""
    pipeline = site.pipeline("fail-late")
    words = ("-with-report", "r.html", "-log", "my.log", "-with-trace", "t.txt", "-name", "Mine", "-q")
    assert site.run("launch", str(pipeline), *words, "--storage-expiration-hours", "1").code == 1
    e = site.show()
    assert e["id"].startswith("mine-")
    assert "peak_rss" in (site.launch_dir / "t.txt").read_text()
    assert "Session UUID" in (site.launch_dir / "my.log").read_text()
    report = (site.launch_dir / "r.html").read_bytes()
    fix(pipeline)
    quiet = site.ok("relaunch", e["id"])
    assert quiet.out == ""
    assert (site.launch_dir / f"r.html.{e['id']}-1").read_bytes() == report
    assert "CACHED" in (site.launch_dir / "t.txt").read_text()
    assert (site.launch_dir / "r.html").read_bytes() != report


def test_a_config_cannot_take_over(site: Site):
    """Case 39: workDir, resume and cleanup of the user's configuration do not override nfresume's.

    With `cleanup = true` plain Nextflow would leave dangling published links.
    """
    pipeline = site.pipeline("fail-late")
    (pipeline / "nextflow.config").write_text("workDir = '/tmp/elsewhere'\ncleanup = true\nresume = true\n")
    assert site.run("launch", str(pipeline), "--storage-expiration-hours", "1").code == 1
    fix(pipeline)
    site.ok("relaunch", site.show()["id"])
    assert site.show()["attempts"][1]["tasks"]["cached"] == 7
    assert not Path("/tmp/elsewhere").exists()
    assert site.show()["work_dir"]["state"] == "DELETED"
    assert (site.launch_dir / "results/report.csv").read_text().startswith("sample")
    assert len(snapshot(site.launch_dir / "results/per-sample")) == 3


def test_the_users_own_nextflow(site: Site, plain_nextflow: Path):
    """The Nextflow used is that of the setting, else that on PATH, else the embedded engine."""
    info = site.ok("engine", "info", "--json").json()
    assert info["source"] == "embedded engine"
    on_path = {**site.env, "PATH": f"{plain_nextflow.parent}:{site.env['PATH']}"}
    assert site.ok("engine", "info", "--json", PATH=on_path["PATH"]).json()["source"] == "PATH"
    (site.launch_dir / "main.nf").write_text("workflow { println 'own' }")
    done = site.ok("launch", "--nextflow", str(plain_nextflow), "main.nf")
    assert "own" in done.out
    assert site.show()["attempts"][0]["nextflow_version"] == "24.10.5"


@pytest.mark.long
def test_detached_life(site: Site):
    """--detach prints the id; logs and wait follow the execution; --json prints its document."""
    pipeline = site.pipeline("scratch")
    execution = site.ok("launch", "--detach", str(pipeline)).out.strip()
    followed = site.ok("logs", "-f", execution)
    assert "Submitted process > SORTED (1)" in followed.out
    done = site.ok("wait", execution, "--json").json()
    assert done["state"] == "SUCCEEDED"
    assert "Execution complete" in site.ok("logs", execution, "--nextflow-log").out
    passed_on = site.ok("launch", str(pipeline), "--json")
    assert passed_on.out.startswith("N E X T F L O W")
    assert "note: --json goes to the pipeline" in passed_on.err
    assert "note:" not in site.ok("launch", str(pipeline), "--", "--json").err
    document = site.ok("launch", "--json", str(pipeline)).json()
    assert set(document) >= {"id", "account", "pipeline", "state", "storage_expiration_hours",
                             "storage_expiration_source", "work_dir", "attempts", "events"}
    assert set(document["work_dir"]) >= {"path", "state", "expires_at", "bytes", "files", "reason"}
    assert set(document["attempts"][0]) >= {"number", "run_name", "session_id", "state", "exit_code",
                                            "started_at", "ended_at", "tasks", "error"}


@pytest.mark.long
def test_output_of_one_task(site: Site):
    """`logs --task` accepts a name, a process or a hash; an unknown task is an error."""
    site.run("launch", str(site.pipeline("fail-late")), "--storage-expiration-hours", "1")
    e = site.show()["id"]
    log = site.ok("logs", e).out
    task_hash = re.search(r"\[(\w\w/\w{6})\] Submitted process > TRIM \(liver\)", log)[1]
    for name in ("TRIM (liver)", "REPORT", task_hash):
        site.ok("logs", e, "--task", name)
    assert site.run("logs", e, "--task", "NOPE").code == 66


@pytest.mark.long
def test_accounts_are_strangers(site: Site):
    """No command finds another account's execution."""
    site.run("launch", str(site.pipeline("fail-late")), "--storage-expiration-hours", "1")
    e = site.show()["id"]
    verbs = (("show", e), ("relaunch", e), ("cancel", e), ("delete", e, "--yes"), ("logs", e), ("pin", e))
    for verb in verbs:
        done = site.run(*verb, NFRESUME_ACCOUNT="other")
        assert (done.code, "has no execution" in done.err) == (66, True), verb
    assert site.ok("list", "--json", NFRESUME_ACCOUNT="other").json() == []


def test_a_terminal_shows_progress(site: Site):
    """A terminal shows a row per process with its counts, and none of Nextflow's lines about tasks."""
    import pty

    pipeline = site.pipeline("fail-late")
    fix(pipeline)
    control, terminal = pty.openpty()
    child = subprocess.Popen([str(BIN / "nfresume"), "launch", str(pipeline)], cwd=site.launch_dir,
                             env={**site.env, "TERM": "xterm", "COLUMNS": "120"}, stdin=terminal,
                             stdout=terminal, stderr=terminal, close_fds=True)
    os.close(terminal)
    seen = b""
    while True:
        try:
            data = os.read(control, 65536)
        except OSError:
            break
        seen += data
    assert child.wait() == 0
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen.decode())
    assert re.search(r"TRIM\s+3\s+-\s+-\s+3", text)
    assert re.search(r"REPORT\s+1\s+-\s+-\s+1", text)
    assert "Submitted process" not in text
    assert "work dir deleted (the run succeeded)" in text


def test_completion_and_config(site: Site):
    """Completion works in three shells and completes ids; `config` shows every setting with its source."""
    for shell in ("bash", "zsh", "fish"):
        assert "nfresume" in site.ok("completion", shell).out
    assert site.run("completion", "tcsh").code == 64
    site.ok("launch", str(site.pipeline("scratch")))
    execution = site.show()["id"]
    done = site.run("show", _NFRESUME_COMPLETE="complete_bash", COMP_WORDS=f"nfresume show {execution[:3]}",
                    COMP_CWORD="2")
    assert execution in done.out
    shown = site.ok("config", "--json").json()
    assert shown["account"] == {"value": "team", "source": "NFRESUME_ACCOUNT", "env": "NFRESUME_ACCOUNT",
                                "help": shown["account"]["help"]}
    assert json.loads(site.ok("doctor", "--json").out)[0]["ok"]


def test_remote_pipelines(site: Site):
    """For owner/repo the metadata is to be read from the pulled copy, and the pipeline runs."""
    place = site.base / "assets/acme/normalise"
    shutil.copytree(FIXTURES / "modules", place)
    git = ["git", "-C", str(place), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for words in (["init", "-q", "-b", "master"], ["add", "-A"], ["commit", "-q", "-m", "x"],
                  ["remote", "add", "origin", "https://github.com/acme/normalise.git"],
                  ["config", "branch.master.remote", "origin"],
                  ["config", "branch.master.merge", "refs/heads/master"]):
        subprocess.run([*git, *words], check=True)
    done = site.ok("launch", "acme/normalise", NXF_ASSETS=str(site.base / "assets"), NXF_OFFLINE="true")
    assert "after a failure kept for the hours to be read from the pipeline" in done.err
    assert (site.launch_dir / "results/top.csv").exists()
    e = site.show()
    assert e["id"].startswith("normalise-")
    assert (e["storage_expiration_hours"], "of acme/normalise at " in e["storage_expiration_source"]) == (
        12, True)


def test_containers_without_ps(site: Site):
    """nfresume does not switch on Nextflow's task metrics, which need `ps` in every container."""
    site.ok("launch", "--pin", str(site.pipeline("scratch")))
    (script,) = Path(site.show()["work_dir"]["path"]).glob("*/*/.command.run")
    assert "required by nextflow to collect task metrics" not in script.read_text()


def test_the_life_over_postgresql(site: Site, postgresql_url: str):
    """Failure, relaunch and success with PostgreSQL; its URL does not reach the tasks."""
    site.env["NFRESUME_DATABASE_URL"] = postgresql_url
    site.env["NFRESUME_ACCOUNT"] = f"pg{os.getpid()}"
    pipeline = site.pipeline("fail-late")
    assert site.run("launch", str(pipeline), "--storage-expiration-hours", "1").code == 1
    e = site.show()
    (script,) = Path(e["work_dir"]["path"]).glob("*/*/tables")
    assert script.is_dir()
    fix(pipeline)
    (pipeline / "main.nf").write_text((pipeline / "main.nf").read_text().replace(
        "echo 'sample", "env > ${launchDir}/env.txt; echo 'sample"))
    site.ok("relaunch", e["id"])
    assert site.show()["work_dir"]["state"] == "DELETED"
    assert "NFRESUME_DATABASE_URL" not in (site.launch_dir / "env.txt").read_text()
    assert "NFRESUME_RUN=" in (site.launch_dir / "env.txt").read_text()


@pytest.mark.long
def test_five_hundred_tasks(site: Site):
    """All of 500 tasks are counted, and a relaunch reuses all of them."""
    pipeline = site.pipeline("many-tasks")
    words = ("launch", str(pipeline), "--fail", "true", "--storage-expiration-hours", "1")
    failed = site.run(*words, timeout=250)
    assert failed.code == 1
    e = site.show()
    assert e["attempts"][0]["tasks"]["submitted"] == 501
    assert e["work_dir"]["files"] > 500 * 8
    done = site.ok("relaunch", e["id"], "--fail=false", timeout=250)
    assert "500 tasks reused" in done.err
    assert (site.launch_dir / "results/sum.txt").read_text() == "125250\n"
    until(lambda: site.show()["work_dir"]["state"] == "DELETED")


def test_exactly_the_failed_task_and_its_dependants(site: Site):
    """A task in the middle fails: a relaunch runs it and what depends on it, and reuses the other tasks."""
    pipeline = site.pipeline("fail-late")
    fix(pipeline)
    flag = site.launch_dir / "ok"
    script = pipeline / "main.nf"
    condition = f"    [ ${{sample}} != kidney ] || [ -e {flag} ]\n"
    script.write_text(script.read_text().replace("    awk -v s=", f"{condition}    awk -v s="))
    assert site.run("launch", str(pipeline), "--storage-expiration-hours", "1").code == 1
    e = site.show()
    attempts = Path(e["work_dir"]["path"]).parent / "attempts"
    flag.touch()
    site.ok("relaunch", e["id"])
    first = {r.name for r in rows(attempts / "1/trace.tsv") if r.status == "COMPLETED"}
    second = {r.name: r.status for r in rows(attempts / "2/trace.tsv")}
    assert len(second) == 8
    reused = {name for name, status in second.items() if status == "CACHED"}
    # When a task fails, Nextflow may not store those that end at the same time.
    concurrent = {"GC_CONTENT (brain)", "GC_CONTENT (liver)"}
    assert first - concurrent <= reused <= first
    assert {"GC_CONTENT (kidney)", "REPORT"} <= {n for n, status in second.items() if status == "COMPLETED"}
    assert "TRIM (kidney)" in first
