"""Outputs at absolute paths that all tasks see: no task gets another one's."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from tests.conftest import Site
from tests.tasks.conftest import put

FLOW = """
import os, time
from pathlib import Path
from typing import List
from latch import custom_task, map_task, small_task, workflow
from latch.types import LatchDir, LatchFile

PLACE = Path("{place}")

def meet(n: int, count: int) -> None:
    Path("{meeting}", str(n)).touch()
    end = time.monotonic() + 60
    while len(os.listdir("{meeting}")) < count and time.monotonic() < end:
        time.sleep(0.05)

@custom_task(cpu=1, memory=0.1, cache=True, cache_version="1")
def write(n: int, count: int) -> {kind}:
    {write}
    meet(n, count)
    return {kind}(str(PLACE))

@small_task
def read(found: List[{kind}]) -> List[str]:
    return [{read} for each in found]

@workflow
def flow(count: int = 3, meeting: int = 3) -> List[str]:
    return read(found=map_task(write)(n=list(range(count)), count=[meeting] * count))
"""
A_FILE = {"kind": "LatchFile", "write": "PLACE.write_text(str(n))", "read": "Path(each).read_text()"}
A_FOLDER = {"kind": "LatchDir", "write": 'PLACE.mkdir(exist_ok=True); (PLACE / "a").write_text(str(n))',
            "read": 'Path(each, "a").read_text()'}
THERE_ALREADY = {**A_FILE, "write": "pass"}


@pytest.fixture
def flow(site: Site) -> Site:
    put(site, "tests_ran.py")
    (site.launch_dir / "meeting").mkdir()
    return site


def write(site: Site, place: str, lines: dict[str, str]) -> None:
    text = FLOW.format(place=place, meeting=site.launch_dir / "meeting", **lines)
    (site.launch_dir / "flow.py").write_text(text)


def place(site: Site, where: str) -> str:
    """A path outside of /tmp, where each task has its own, or in the launch dir, which all tasks share."""
    return f"{site.launch_dir}/out" if where == "launch dir" else f"/var/tmp/{os.getpid()}-{site.base.name}"


@pytest.mark.parametrize(("lines", "where"), [(A_FILE, "launch dir"), (A_FOLDER, "elsewhere")],
                         ids=["a file in the launch dir", "a folder elsewhere"])
def test_side_by_side(flow: Site, lines: dict[str, str], where: str):
    """Nobody knows whose file it is that the first one returned: nothing of it is reused."""
    write(flow, place(flow, where), lines)
    done = flow.run("launch", "--storage-expiration-hours", "9", "--jobs", "8", "flow.py:flow")
    assert done.code == 1
    said = f"a call of flow.write wrote {place(flow, where)} meanwhile: let each write to a file of its own"
    assert said in done.err
    for entry in (flow.launch_dir / "meeting").iterdir():
        entry.unlink()
    again = flow.ok("relaunch", flow.show()["id"], "--jobs", "1", "--meeting", "0")
    assert json.loads(again.out) == ["0", "1", "2"]
    assert flow.show()["attempts"][1]["tasks"]["cached"] == 0
    subprocess.run(["rm", "-rf", place(flow, where)], check=True)


def test_one_after_the_other(flow: Site):
    """Each gets its own: it is taken before the next one begins."""
    write(flow, place(flow, "launch dir"), A_FILE)
    done = flow.ok("launch", "--jobs", "1", "flow.py:flow", "--meeting", "0")
    assert json.loads(done.out) == ["0", "1", "2"]


def test_what_none_of_them_wrote(flow: Site):
    """A reference that was there before is everyone's."""
    path = flow.launch_dir / "out"
    path.write_text("reference")
    os.utime(path, (1e9, 1e9))
    write(flow, str(path), THERE_ALREADY)
    done = flow.ok("launch", "--jobs", "8", "flow.py:flow")
    assert json.loads(done.out) == ["reference"] * 3
