"""What a run gets from the process that starts it is what plain Nextflow would get, and does no harm."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from tests.acceptance.conftest import run_plain
from tests.conftest import Site, until

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
