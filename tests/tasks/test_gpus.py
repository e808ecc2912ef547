"""Tasks that ask for GPUs do not share them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nfresume.tasks import gpus
from tests.conftest import Site

FLOW = """
import os, time
from typing import List
from flytekit import Resources, map_task, task, workflow
from latch import large_gpu_task

@task(requests=Resources(cpu="0.1", gpu="{asked}"))
def seen(n: int, together: int) -> str:
    open("{place}/" + str(n), "w").close()
    end = time.monotonic() + 30
    time.sleep(0.5)
    while len(os.listdir("{place}")) < together and time.monotonic() < end:
        time.sleep(0.05)
    others = len(os.listdir("{place}"))
    time.sleep(0.5)
    os.unlink("{place}/" + str(n))
    return f"{{os.environ.get('CUDA_VISIBLE_DEVICES')}} {{others}}"

@large_gpu_task
def large() -> str:
    return str(os.environ.get("CUDA_VISIBLE_DEVICES"))

@workflow
def flow(n: int = 3, together: int = 1) -> List[str]:
    return map_task(seen)(n=list(range(n)), together=[together] * n)

@workflow
def one() -> str:
    return large()
"""


@pytest.fixture
def flow(site: Site) -> Site:
    """A workflow, on a host whose nvidia-smi names the GPUs in the file `gpus`."""
    (site.launch_dir / "place").mkdir()
    (site.base / "bin").mkdir()
    program = site.base / "bin/nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat {site.base}/gpus\n")
    program.chmod(0o755)
    site.env.pop("CUDA_VISIBLE_DEVICES", None)
    site.env["PATH"] = f"{site.base / 'bin'}:{site.env['PATH']}"
    return site


def write(site: Site, asked: int, there: str) -> None:
    (site.launch_dir / "flow.py").write_text(FLOW.format(asked=asked, place=site.launch_dir / "place"))
    Path(site.base, "gpus").write_text(there)


@pytest.mark.parametrize(("asked", "there", "found"), [
    (1, "0\n", {"0 1"}), (2, "0\n1\n", {"0,1 1"}), (8, "0\n", {"0 1"})])
def test_one_at_a_time(flow: Site, asked: int, there: str, found: set[str]):
    """Tasks that ask for all GPUs of the host, or for more, run one after the other."""
    write(flow, asked, there)
    done = flow.ok("launch", "--jobs", "4", "flow.py:flow")
    assert set(json.loads(done.out)) == found
    assert ("asks for 8 GPUs, and this host has 1" in done.err) == (asked == 8)


def test_each_has_its_own(flow: Site):
    """Two tasks side by side have different GPUs. CUDA_VISIBLE_DEVICES may name fewer than there are."""
    write(flow, 1, "0\n1\n2\n3\n")
    done = flow.ok("launch", "--jobs", "4", "flow.py:flow", "--n", "2", "--together", "2",
                   CUDA_VISIBLE_DEVICES="2,GPU-b")
    names, others = zip(*(each.split() for each in json.loads(done.out)), strict=True)
    assert (set(names), "2" in others) == ({"2", "GPU-b"}, True)


def test_a_host_without_gpus(flow: Site):
    """Tasks run side by side there, and a launch says once that there is none."""
    write(flow, 1, "")
    done = flow.ok("launch", "--jobs", "4", "flow.py:flow", "--together", "3")
    assert "3" in {each.split()[1] for each in json.loads(done.out)}
    assert done.err.count("asks for 1 GPU, and this host has none: such tasks run with that") == 1
    assert json.loads(flow.ok("launch", "flow.py:one", CUDA_VISIBLE_DEVICES="7").out) == "7"


@pytest.mark.parametrize(("engine", "words"), [
    ("docker", ["--gpus", '"device=0,1"']), ("podman", ["--device", "nvidia.com/gpu=0", "--device",
                                                        "nvidia.com/gpu=1"]),
    ("apptainer", ["--nv", "--env", "CUDA_VISIBLE_DEVICES=0,1"])])
def test_in_containers(engine: str, words: list[str]):
    """Each engine has its own words for it."""
    assert gpus.options(engine, ("0", "1")) == words
    assert gpus.options(engine, ()) == []
