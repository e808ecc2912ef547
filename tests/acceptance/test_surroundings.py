"""What a run gets from the process that starts it is what plain Nextflow would get, and does no harm."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.acceptance.conftest import run_plain
from tests.acceptance.test_server import serving, submit
from tests.conftest import BIN, Site, until
from tests.serving import serve

pytestmark = pytest.mark.slow

PROBE = """\
process PROBE {
    publishDir 'seen'
    output: path '*.txt'
    script: "env > env.txt; printf ü | wc -m > ü.txt"
}
workflow { PROBE() }
"""
CALLS = """\
import subprocess
from nfresume.tasks import small_task, workflow
@small_task
def check() -> int:
    return subprocess.run(["false"]).returncode
@workflow
def calls() -> int:
    return check()
"""


SHEET = """\
process LINE {
    publishDir 'seen', mode: 'copy'
    input: val line
    output: path 'line.txt'
    script: "test -e $launchDir/ok; echo $line > line.txt"
}
workflow { LINE(channel.fromPath(params.input).splitText { it.trim() }) }
"""


ALONE = """\
import time
from nfresume.tasks import custom_task, map_task, workflow
@custom_task(cpu=1, memory=1)
def period(number: int) -> list[float]:
    began = time.time()
    time.sleep(2)
    return [began, time.time()]
@workflow
def periods() -> list[list[float]]:
    return map_task(period)(number=[1, 2])
"""


@pytest.fixture
def one_cpu() -> Iterator[Path]:
    """A control group that may use one CPU."""
    group = Path("/sys/fs/cgroup/cpu" if Path("/sys/fs/cgroup/cpu").is_dir() else "/sys/fs/cgroup",
                 f"nfresume-test-{os.getpid()}")
    try:
        group.mkdir()
    except OSError as e:
        pytest.skip(f"control groups cannot be made here: {e.strerror}")
    version_1 = (group / "cpu.cfs_quota_us").exists()
    if not version_1 and not (group / "cpu.max").exists():
        group.rmdir()
        pytest.skip("control groups here have no CPUs")
    (group / ("cpu.cfs_quota_us" if version_1 else "cpu.max")).write_text("100000")
    yield group
    until(lambda: not (group / "cgroup.procs").read_text(), 60, "the end of what runs there")
    group.rmdir()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")
def test_the_cpus_of_a_control_group(site: Site, one_cpu: Path):
    """Python tasks share the CPUs of a container or job, and not those of the whole machine."""
    (site.launch_dir / "alone.py").write_text(ALONE)
    inside = ("bash", "-c", f'echo $$ > {one_cpu}/cgroup.procs; exec "$@"', "bash")
    out, said = site.start("launch", "alone.py:periods", under=inside).communicate(timeout=100)
    first, second = sorted(json.loads(out))
    assert first[1] <= second[0], said


@pytest.mark.parametrize("given", ["--input <(echo a.fastq)", pytest.param(
    "--input=/dev/fd/9 9< sheet.txt", marks=pytest.mark.long)])
def test_a_pipe_as_a_parameter(site: Site, given: str):
    """What a parameter finds in a descriptor of the caller is read there, and kept for a relaunch."""
    (site.launch_dir / "main.nf").write_text(SHEET)
    (site.launch_dir / "sheet.txt").write_text("a.fastq\n")
    command = f"{BIN}/nfresume launch --storage-expiration-hours 1 main.nf {given}"
    done = subprocess.run(["bash", "-c", command], cwd=site.launch_dir, env=site.env, check=False, timeout=99,
                          capture_output=True, text=True)
    assert "LINE" in str(site.show()["attempts"][0]), done.stdout + done.stderr
    (site.launch_dir / "ok").touch()
    site.ok("relaunch", site.show()["id"])
    assert (site.launch_dir / "seen/line.txt").read_text() == "a.fastq\n"


def test_a_pipe_that_is_too_large(site: Site):
    """A pipe as a parameter is not read into memory without end."""
    (site.launch_dir / "main.nf").write_text(SHEET)
    command = f"{BIN}/nfresume launch main.nf --input <(cat /dev/zero)"
    done = subprocess.run(["bash", "-c", command], cwd=site.launch_dir, env=site.env, check=False, timeout=99,
                          capture_output=True, text=True)
    assert (done.returncode, "a pipe of more than 64 MB" in done.stderr) == (64, True)


@pytest.mark.parametrize("pipeline", ["main.nf", "calls.py:calls"])
def test_a_caller_that_ignores_its_children(site: Site, pipeline: str):
    """Where the caller ignores SIGCHLD, as some daemons do, exit statuses are not lost all the same."""
    (site.launch_dir / "main.nf").write_text("workflow { println 1 }")
    (site.launch_dir / "calls.py").write_text(CALLS)
    child = site.start("launch", pipeline, under=("bash", "-c", 'trap "" CHLD; exec "$@"', "bash"))
    out, said = child.communicate(timeout=100)
    assert child.returncode == 0, said
    assert out.splitlines()[-1] == "1"


@pytest.mark.long
def test_a_caller_that_blocks_signals(site: Site):
    """SIGTERM ends a launch whose caller has blocked it, as it ends `nextflow run`."""
    blocking = ("import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM}); "
                "os.execv(sys.argv[1], sys.argv[1:])")
    child = site.start("launch", str(site.pipeline("slow")), under=(sys.executable, "-c", blocking))
    until(lambda: site.runs("sleep"), 60, "a running task")
    child.send_signal(signal.SIGTERM)
    assert child.wait(60) != 0
    assert site.show()["state"] == "CANCELLED"


def test_tasks_have_no_locale_of_pythons(site: Site, plain_nextflow: Path):
    """Without a locale, as under cron, tasks see no LC_CTYPE; names that are not ASCII are published."""
    for name in ("LANG", "LC_ALL", "LC_CTYPE"):
        site.env.pop(name, None)
    (site.launch_dir / "main.nf").write_text(PROBE)
    site.ok("launch", "main.nf")
    seen = site.launch_dir / "seen"
    assert (seen / "ü.txt").read_text() == "2\n"
    plain = site.base / "plain"
    plain.mkdir()
    (plain / "main.nf").write_text(PROBE.replace("ü.txt", "u.txt"))
    assert run_plain(plain_nextflow, plain, "main.nf", env=site.env).returncode == 0

    def locale(path: Path) -> set[str]:
        return {line for line in path.read_text().splitlines() if line.startswith(("LC_", "LANG"))}

    assert locale(seen / "env.txt") == locale(plain / "seen/env.txt") == set()


def test_other_libraries_in_pythonpath(site: Site):
    """Libraries in PYTHONPATH, where module systems put those of other programs, do not replace ours."""
    theirs = site.base / "module"
    theirs.mkdir()
    for name in ("psutil", "typer", "sqlalchemy", "sh", "click"):
        (theirs / f"{name}.py").write_text("raise ImportError('of another Python')")
    (site.launch_dir / "main.nf").write_text(PROBE)
    site.ok("launch", "main.nf", PYTHONPATH=str(theirs))
    assert f"PYTHONPATH={theirs}\n" in (site.launch_dir / "seen/env.txt").read_text()


def test_a_run_hears_nothing_of_systemd(site: Site):
    """What systemd tells the server is not told to its runs: podman would wait for a message, for example."""
    said = {"NOTIFY_SOCKET": str(site.base / "notify"), "WATCHDOG_USEC": "60000000", "INVOCATION_ID": "ab",
            "JOURNAL_STREAM": "8:9", "LISTEN_FDS": "1", "STATE_DIRECTORY": "/var/lib/nfresume"}
    place = site.base / "pipeline"
    place.mkdir()
    (place / "main.nf").write_text(PROBE.replace("ü.txt", "u.txt"))
    with serving(site, **said) as server:
        run = submit(server, place, {})
        assert server.ended(run) == "COMPLETE"
    seen = next((site.base / "launches").glob("**/seen/env.txt")).read_text()
    assert [name for name in said if f"{name}=" in seen] == []


@pytest.mark.long
def test_a_closed_terminal_ends_a_server_in_order(site: Site):
    """SIGHUP ends a server as SIGTERM does. Under nohup it has no effect."""
    with serve(site, under=("bash", "-c", 'trap "" HUP; exec "$@"', "bash")) as server:
        process = subprocess.Popen(["kill", "-HUP", str(server.pid)])
        assert process.wait() == 0
        time.sleep(1)
    assert "".join(server.stderr).count("stopping") == 1  # by SIGTERM, at the end of the block
    child = site.start("serve", "--port", "0")
    until(lambda: "log in with" in child.stderr.readline(), 60, "the server")
    child.send_signal(signal.SIGHUP)
    assert child.wait(20) == 0


@pytest.mark.long
def test_a_second_signal_does_not_wait(site: Site):
    """A server that waits for its database at its end is ended by a second signal, not by a repeated one."""
    (site.launch_dir / "main.nf").write_text("workflow { error 'no' }")
    site.run("launch", "--storage-expiration-hours", "0.005", "main.nf")
    due = datetime.fromisoformat(site.show()["work_dir"]["expires_at"])
    child = site.start("serve", "--port", "0", "--every", "1")
    until(lambda: "log in with" in child.stderr.readline(), 60, "the server")
    place = site.env["NFRESUME_DATABASE_URL"].removeprefix("sqlite:///")
    with sqlite3.connect(place, isolation_level=None) as database:
        database.execute("BEGIN EXCLUSIVE")
        until(lambda: datetime.now(UTC) > due + timedelta(seconds=3), 60, "a sweep that waits")
        for _ in range(3):
            child.send_signal(signal.SIGTERM)
            time.sleep(0.2)
        time.sleep(1)
        assert child.poll() is None
        child.send_signal(signal.SIGTERM)
        assert child.wait(5) == 128 + signal.SIGTERM
