"""Work dirs of real Nextflow: measured, slimmed, kept after a success, removed with pauses."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from nfresume import settings
from nfresume.service.verbs import Service
from tests.conftest import BIN, Site, until

pytestmark = pytest.mark.slow

#: One process that succeeds, one that fails twice and leaves a large file, and one that is aborted.
PIPELINE = '''
params.fail = true
process GOOD { input: val x
  output: path 'good.txt'
  script: "head -c 50000 /dev/zero > good.txt; echo $x >> good.txt" }
process BAD { maxRetries 1; errorStrategy 'retry'
  input: path g
  output: path 'bad.txt'
  script: """mkdir -p tmp/deep; head -c 300000 /dev/zero > tmp/deep/big; echo said
  ${params.fail ? 'exit 3' : 'touch bad.txt'}"""
}
process LONG { input: path g
  output: path 'long.txt'
  script: "head -c 200000 /dev/zero > long.tmp; ${params.fail ? 'sleep 60' : 'touch long.txt'}" }
workflow { GOOD(Channel.of(1, 2, 3)); LONG(GOOD.out.first()); BAD(GOOD.out.last()) }
'''
#: The declared output NAME is not what the command writes, although it ends with exit status 0.
MISSING = """
process WRONG { output: path 'NAME'
  script: "head -c 30000 /dev/zero > right.txt" }
workflow { WRONG() }
"""


def launch(site: Site, script: str, *words: str, code: int = 1) -> dict[str, Any]:
    (site.launch_dir / "main.nf").write_text(script)
    done = site.run("launch", "--storage-expiration-hours", "5", *words, "main.nf")
    assert done.code == code, done.err
    return {**site.show(), "said": done.err}


def cached_names(e: dict[str, Any], number: int) -> list[str]:
    trace = Path(e["work_dir"]["path"]).parent / f"attempts/{number}/trace.tsv"
    rows = [line.split("\t") for line in trace.read_text().splitlines()[1:]]
    return sorted(row[1] for row in rows if row[2] == "CACHED")


def event(e: dict[str, Any], name: str) -> dict[str, Any]:
    return next(v["detail"] for v in e["events"] if v["name"] == name)


@pytest.mark.long
def test_slim_reuses_the_same_tasks(site: Site):
    """Slim keeps only the logs of failed and aborted tasks; a relaunch reuses the same tasks as with full."""
    full = launch(site, PIPELINE)
    slim = launch(site, PIPELINE, "--retain", "slim")
    assert "slim: " in slim["said"]
    assert full["work_dir"]["bytes"] - slim["work_dir"]["bytes"] > 790_000  # two tries of BAD, one of LONG
    freed = event(slim, "slimmed")
    assert freed["files"] >= 3
    assert freed["directories"] >= 4  # tmp and tmp/deep, twice
    assert freed["bytes"] >= 790_000
    assert not any(v["name"] == "slimmed" for v in full["events"])
    work = Path(slim["work_dir"]["path"])
    for leftover in ("big", "long.tmp"):
        assert list(work.rglob(leftover)) == []
    assert len(list(work.rglob("good.txt"))) >= 3
    failed = [p.parent for p in work.rglob(".exitcode") if p.read_text() == "3"]
    assert len(failed) == 2
    assert all((place / ".command.out").read_text() == "said\n" for place in failed)
    assert "said" in site.ok("logs", slim["id"], "--task", "BAD").out

    for e in (full, slim):
        site.ok("relaunch", e["id"], "--pin", "--fail", "false")
    reused = [cached_names(site.show(e["id"]), 2) for e in (full, slim)]
    assert reused[0] == reused[1] == ["GOOD (1)", "GOOD (2)", "GOOD (3)"]


@pytest.mark.long
def test_slim_keeps_undeclared_outputs(site: Site):
    """Slim keeps the files of a task with exit status 0 whose output was not found: they show what to
    declare. A relaunch reuses as many tasks as with full."""
    reused = []
    for retain in ("full", "slim"):
        e = launch(site, MISSING.replace("NAME", "wrong.txt"), "--retain", retain)
        assert len(list(Path(e["work_dir"]["path"]).rglob("right.txt"))) == 1
        (site.launch_dir / "main.nf").write_text(MISSING.replace("NAME", "right.txt"))
        site.ok("relaunch", e["id"], "--pin")
        reused.append(site.show(e["id"])["attempts"][1]["tasks"]["cached"])
    assert reused[0] == reused[1]


@pytest.mark.long
def test_slim_as_a_setting_and_not_when_pinned(site: Site):
    """Without --retain the site's setting holds; a pinned work dir is not slimmed."""
    site.env["NFRESUME_RETAIN"] = "slim"
    assert launch(site, PIPELINE)["retain"] == "slim"
    pinned = launch(site, PIPELINE, "--pin")
    assert event(pinned, "slimmed") == {"left_alone": "it is pinned"}
    assert "slim: nothing was removed: it is pinned" in pinned["said"]
    assert len(list(Path(pinned["work_dir"]["path"]).rglob("big"))) == 2
    wrong = site.run("launch", "--retain", "some", "main.nf")
    assert wrong.code == 64
    assert "full, slim" in wrong.err


PUBLISH = """
process P { publishDir 'out'
  output: path 'result.txt'
  script: "echo result > result.txt" }
workflow { P() }
"""


@pytest.mark.long
def test_kept_after_a_success(site: Site):
    """--on-success keep secures the results and leaves the work dir until expiry; a relaunch is possible."""
    e = launch(site, PUBLISH, "--on-success", "keep", code=0)
    assert (e["state"], e["work_dir"]["state"]) == ("SUCCEEDED", "RETAINED")
    assert e["work_dir"]["expires_at"]
    assert not (site.launch_dir / "out/result.txt").is_symlink()
    again = site.ok("relaunch", e["id"], "--storage-expiration-hours", "0.00001")
    assert "1 task reused" in again.err
    site.ok("sweep")  # if the supervisor has not done it by itself
    shown = site.show(e["id"])
    assert shown["work_dir"]["removal"]["files"] > 5
    assert shown["work_dir"]["state"] == "DELETED"
    assert shown["work_dir"]["removal"]["remaining_files"] == 0
    assert not (site.launch_dir / "out/result.txt").is_symlink()
    assert (site.launch_dir / "out/result.txt").read_text() == "result\n"
    refused = site.run("launch", "--on-success", "keep", "main.nf")
    assert refused.code == 64
    assert "nothing would be kept" in refused.err


def test_the_report_of_results(site: Site):
    """results.tsv in the attempt's folder says what happened to each published path; the history counts."""
    e = launch(site, PUBLISH, code=0)
    report = Path(e["work_dir"]["path"]).parent / "attempts/1/results.tsv"
    assert report.read_text().splitlines()[1:] == [f"{site.launch_dir}/out/result.txt\tlinked"]
    assert event(e, "results_secured") == {"linked": 1}


@pytest.mark.long
def test_measure_by_process(site: Site):
    """Sizes agree with du and are given per process; finished task dirs are scanned only once."""
    e = launch(site, PIPELINE)
    first = site.ok("measure", e["id"], "--json").json()
    by_name = {row["process"]: row for row in first["processes"]}
    assert (by_name["GOOD"]["tasks"], by_name["BAD"]["tasks"], by_name["LONG"]["tasks"]) == (3, 2, 1)
    assert by_name["BAD"]["bytes"] > 600_000
    assert first["processes"][0]["process"] == "BAD"
    work = Path(e["work_dir"]["path"])
    du = subprocess.run(["du", "-c", "-s", "-B1", str(work), str(work.parent / "cache")], check=True,
                        capture_output=True, text=True)
    on_disk = int(du.stdout.split()[-2])
    assert first["total"]["disk_bytes"] == pytest.approx(on_disk, abs=8192)  # a record was written after
    assert sum(row["metered"] for row in first["processes"]) == first["total"]["metered"]
    assert not first["partial"]
    second = site.ok("measure", "--json").json()[0]
    assert second["task_dirs_scanned"] <= 1  # LONG may have been killed before it wrote an exit status
    table = site.ok("measure", e["id"]).out
    assert "BAD" in table
    assert "total" in table
    assert site.show(e["id"])["work_dir"]["metered_bytes"] == second["total"]["metered"]
    site.ok("delete", e["id"], "--yes")
    gone = site.run("measure", e["id"])
    assert gone.code == 81
    assert "no work dirs" in site.ok("measure").out


def test_a_stopped_measurement_is_not_stored(site: Site):
    """A scan that was stopped is shown as partial; the stored size stays."""
    e = launch(site, MISSING.replace("NAME", "wrong.txt"))
    service = Service(settings.load(site.env))
    try:
        stop = threading.Event()
        stop.set()
        measured = service.measure(service.find(e["id"]), stop)
        assert measured.partial
        assert measured.total.metered < e["work_dir"]["metered_bytes"]
        assert service.find(e["id"]).work_dir.metered_bytes == e["work_dir"]["metered_bytes"]
    finally:
        service.close()


def grow(work: Path, files: int) -> None:
    """Add files to a work dir, in new task dirs with 50 files each."""
    for number in range(files):
        place = work / f"{number // 50:02x}" / f"{number // 50:030x}"
        place.mkdir(parents=True, exist_ok=True)
        (place / str(number)).write_text("x" * 100)


@pytest.mark.long
@pytest.mark.parametrize("command", ["sweep", pytest.param("delete", marks=pytest.mark.long)])
def test_a_removal_pauses_and_goes_on(site: Site, command: str):
    """SIGTERM pauses a removal; `show` tells the progress; the next sweep removes the rest."""
    (site.launch_dir / "fail.nf").write_text("process F { script: 'exit 1' }\nworkflow { F() }\n")
    assert site.run("launch", "--storage-expiration-hours", "5", "fail.nf").code == 1
    e = site.show()
    grow(Path(e["work_dir"]["path"]), 2000)
    total = site.ok("measure", e["id"], "--json").json()["total"]["files"]
    words = ["delete", e["id"], "--yes"]
    if command == "sweep":
        site.ok("extend", e["id"], "0.00001")
        words = ["sweep"]
    removing = site.start(*words, NFRESUME_DELETE_PER_SECOND="300")

    def progress() -> dict[str, Any]:
        return site.show(e["id"])["work_dir"]["removal"] or {}

    seen = until(lambda: progress().get("files") and progress(), 30, "progress is told")
    assert seen["remaining_files"] == total - seen["files"]
    assert seen["files_per_second"] > 0
    assert seen["remaining_seconds"] > 0
    removing.send_signal(signal.SIGTERM)
    out, err = removing.communicate(timeout=20)
    assert removing.returncode == 128 + signal.SIGTERM, out + err
    paused = site.show(e["id"])
    assert (paused["work_dir"]["state"], paused["events"][-1]["name"]) == ("DELETING", "removal_paused")
    assert 0 < paused["work_dir"]["removal"]["files"] < total
    assert site.run("relaunch", e["id"]).code == 81
    lines = site.ok("sweep", "--json").json()
    assert lines[0]["removal"]["files"] == total
    assert site.show(e["id"])["work_dir"]["state"] == "DELETED"
    assert os.listdir(site.root / ".trash") == []


@pytest.mark.long
def test_serve_pauses_when_told_to_stop(site: Site):
    """A server that is stopped in the middle of a removal ends soon; the next sweep continues."""
    (site.launch_dir / "fail.nf").write_text("process F { script: 'exit 1' }\nworkflow { F() }\n")
    assert site.run("launch", "--storage-expiration-hours", "0.001", "fail.nf").code == 1  # 3.6 s
    e = site.show()
    grow(Path(e["work_dir"]["path"]), 2000)
    serving = site.start("serve", "--no-web", NFRESUME_DELETE_PER_SECOND="100", NFRESUME_SWEEP_SECONDS="1")
    until(lambda: (site.show(e["id"])["work_dir"]["removal"] or {}).get("files"), 30, "it removes")
    serving.terminate()
    _, err = serving.communicate(timeout=15)
    assert serving.returncode == 0, err
    assert site.show(e["id"])["events"][-1]["name"] == "removal_paused"
    site.ok("sweep")
    assert site.show(e["id"])["work_dir"]["state"] == "DELETED"


MANY_FILES = r"""
process MANY { output: path 'done.txt'
  script: "for i in \$(seq 3000); do : > f\$i; done; touch done.txt" }
workflow { MANY() }
"""


@pytest.mark.long
def test_a_supervisor_that_is_told_to_stop_while_it_removes(site: Site):
    """SIGTERM pauses a supervisor's removal after a success, as at a shutdown; a sweep continues it."""
    (site.launch_dir / "main.nf").write_text(MANY_FILES)
    execution = site.ok("launch", "--detach", "main.nf", NFRESUME_DELETE_PER_SECOND="300").out.strip()
    until(lambda: (site.show(execution)["work_dir"]["removal"] or {}).get("files"), 60, "it removes")
    supervisor = site.supervisors()[0]
    supervisor.terminate()
    supervisor.wait(20)
    assert site.show(execution)["events"][-1]["name"] == "removal_paused"
    shown = site.show(execution)
    assert (shown["state"], shown["work_dir"]["state"]) == ("SUCCEEDED", "DELETING")
    assert "files gone" in site.ok("show", execution).out
    site.ok("sweep")
    assert site.show(execution)["work_dir"]["removal"]["files"] > 3000
    assert site.show(execution)["work_dir"]["state"] == "DELETED"


@pytest.mark.long
def test_what_it_costs(site: Site):
    """`costs` shows a failed run at once, as a table, JSON and CSV; `serve` measures it again."""
    e = launch(site, PIPELINE)
    table = site.ok("costs").out
    assert e["id"] in table
    assert "0.3 USD per GB-month (dated table" in table
    report = site.ok("costs", "--json", "--by", "pipeline").json()
    assert report["now"]["metered_bytes"] == e["work_dir"]["metered_bytes"]
    assert [line["key"] for line in report["lines"]] == ["main.nf"]
    weighed = site.ok("costs", "--json", NFRESUME_PRICE_PER_CPU_HOUR="0.05").json()["lines"][0]
    assert weighed["relaunch_saves_seconds"] > 0
    assert weighed["break_even_hours"] > 0
    assert site.ok("costs", "--json").json()["lines"][0]["break_even_hours"] is None
    assert site.ok("costs", "--csv").out.splitlines()[1].startswith(f"{e['id']},")
    assert site.run("costs", "--by", "colour").code == 64
    assert site.run("costs", "--since", "soon").code == 64
    assert site.ok("costs", "--account", "other", "--json").json()["lines"] == []
    before = site.show(e["id"])["work_dir"]["measured_at"]
    serving = site.start("serve", "--no-web", NFRESUME_SAMPLE_SECONDS="0.1", NFRESUME_SWEEP_SECONDS="0.2")
    until(lambda: site.show(e["id"])["work_dir"]["measured_at"] > before, 30, "it measures again")
    serving.terminate()
    assert serving.wait(20) == 0


def on_a_terminal(site: Site, *words: str, **env: str) -> str:
    """What a command prints on a terminal, without escape sequences."""
    control, terminal = pty.openpty()
    child = subprocess.Popen([str(BIN / "nfresume"), *words], cwd=site.launch_dir, stdin=terminal,
                             stdout=terminal, stderr=terminal,
                             env={**site.env, "TERM": "xterm", "COLUMNS": "120", **env})
    os.close(terminal)
    seen = b""
    while True:
        try:
            seen += os.read(control, 65536)
        except OSError:
            break
    os.close(control)
    assert child.wait() == 0, seen
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen.decode())


@pytest.mark.long
def test_progress_on_a_terminal(site: Site):
    """A terminal shows files, bytes, rate, and the files and time that are left; a pipe shows none of it."""
    (site.launch_dir / "fail.nf").write_text("process F { script: 'exit 1' }\nworkflow { F() }\n")
    for _ in range(2):
        assert site.run("launch", "--storage-expiration-hours", "5", "fail.nf").code == 1
    first, second = (e["id"] for e in site.ok("list", "--json").json())
    for execution in (first, second):
        grow(Path(site.show(execution)["work_dir"]["path"]), 1000)
        site.ok("measure", execution)
    shown = on_a_terminal(site, "delete", first, "--yes", NFRESUME_DELETE_PER_SECOND="1000")
    line = rf"deleting {first}: \d+ files, \S+ \S+, [\d,]+ files/s, \d+ left, about \d+ s"
    assert re.search(line, shown), shown
    assert "work dir deleted" in shown
    assert "measuring: " in on_a_terminal(site, "measure", second)
    piped = site.ok("delete", second, "--yes", NFRESUME_DELETE_PER_SECOND="1000")
    assert "files/s" not in piped.err + piped.out


@pytest.mark.long
def test_slim_needs_an_orderly_end(site: Site):
    """After kill -9 of Nextflow it is uncertain what failed: slim removes nothing, the history says why."""
    site.pipeline("slow")
    words = ("--detach", "--storage-expiration-hours", "5", "--retain", "slim", "slow")
    execution = site.ok("launch", *words).out.strip()
    until(lambda: "process > SLOW" in site.ok("logs", execution).out, 60, "the slow task runs")
    next(p for p in site.processes() if p.name() == "java").kill()
    assert site.run("wait", execution, "--timeout", "60").code == 128 + signal.SIGKILL
    e = site.show(execution)
    assert event(e, "slimmed") == {"left_alone": "Nextflow did not end in good order"}
    assert len(list(Path(e["work_dir"]["path"]).rglob("slow.1"))) == 1
