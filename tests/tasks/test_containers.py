"""Tasks run in containers where there is an engine. A script plays the engine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from nfresume.tasks.containers import installed_by
from tests.conftest import PROJECT, Site

FLOW = """
import os, shutil, subprocess
from typing import List
from latch import small_task, workflow
from latch.types import LatchFile

@small_task
def counts(file: LatchFile) -> LatchFile:
    with open("counts.txt", "w") as out:
        subprocess.run(["counter", file.local_path], stdout=out, check=True)
    return LatchFile("counts.txt")

@small_task(dockerfile="Other.dockerfile")
def shows(file: LatchFile) -> List[str]:
    image = os.environ.get("IMAGE", "host")
    return [open(file.local_path).read().strip(), image, str(shutil.which("counter"))]

@workflow
def flow(file: LatchFile) -> List[str]:
    return shows(file=counts(file=file))
"""
DOCKERFILE = """
FROM 812206152185.dkr.ecr.us-west-2.amazonaws.com/latch-base:fe0b-main
RUN apt-get update -y && \\
    # the aligner
    apt-get install -y bowtie2=2.4 "samtools" && rm -rf /var/lib/apt
RUN pip install --upgrade pysam==0.22 'numpy>=1.2' -r requirements.txt
RUN conda install -c bioconda -y bioconda::star; curl -L https://example.org/install.sh | bash
COPY wf /root/wf
"""


@pytest.fixture
def project(site: Site) -> Path:
    """A workflow with two Dockerfiles, and a tool that only the image has."""
    (site.launch_dir / "flow.py").write_text(FLOW)
    (site.launch_dir / "Dockerfile").write_text(DOCKERFILE)
    (site.launch_dir / "Other.dockerfile").write_text("FROM debian\nRUN apk add jq\n")
    (site.launch_dir / "a.txt").write_text("one\ntwo\n")
    tools = site.base / "tools"
    tools.mkdir()
    (tools / "counter").write_text('#!/bin/sh\nwc -l < "$1"\n')
    (tools / "counter").chmod(0o755)
    return site.launch_dir


@pytest.fixture
def engine(site: Site, project: Path) -> Path:
    """The engine's log."""
    (site.base / "bin").mkdir()
    shutil.copy(PROJECT / "tests/tasks/docker.sh", site.base / "bin/docker")
    log = site.base / "engine.log"
    site.env.update(PATH=f"{site.base / 'bin'}:{site.env['PATH']}", ENGINE_LOG=str(log),
                    ENGINE_TOOLS=str(site.base / "tools"))
    return log


def test_a_dockerfile(site: Site, engine: Path):
    """Each Dockerfile is built once. The task sees its inputs read-only, and its folder, in the container."""
    done = site.ok("launch", "flow.py:flow", "--file", "a.txt")
    count, image, tool = json.loads(done.out)
    assert (count, tool) == ("2", str(site.base / "tools/counter"))
    built = [line.split() for line in engine.read_text().splitlines() if line.startswith("build")]
    assert [Path(words[words.index("--file") + 1]).name for words in built] == [
        "Dockerfile", "Other.dockerfile"]
    assert image == built[1][built[1].index("--tag") + 1]
    first = next(line for line in engine.read_text().splitlines() if line.startswith("run"))
    assert f"--volume {site.launch_dir / 'a.txt'}:{site.launch_dir / 'a.txt'}:ro " in first
    assert "would install" not in done.err


def test_an_image_by_setting(site: Site, engine: Path):
    """It is used for all tasks, and nothing is built. The engine may be any program."""
    shutil.move(site.base / "bin/docker", site.base / "bin/my-podman")
    done = site.ok("launch", "flow.py:flow", "--file", "a.txt", NFRESUME_CONTAINER_IMAGE="biocontainers/x:1",
                   NFRESUME_CONTAINER_ENGINE=str(site.base / "bin/my-podman"))
    assert json.loads(done.out)[1] == "biocontainers/x:1"
    assert [line.split()[0] for line in engine.read_text().splitlines()] == ["run", "run"]


def test_an_image_that_cannot_be_built(site: Site, engine: Path):
    """The reason and the way out are said."""
    engine.with_name("engine.log.broken").touch()
    done = site.run("launch", "flow.py:flow", "--file", "a.txt")
    assert done.code == 1
    assert "Dockerfile cannot be built: step 2 failed (container_engine = \"none\" runs tasks on the host)" \
        in done.err


@pytest.mark.parametrize("how", ["none", "without a daemon"])
def test_without_an_engine(site: Site, engine: Path, how: str):
    """Tasks use the tools of the host. A launch says once what each Dockerfile would install."""
    env = {"PATH": f"{site.base / 'tools'}:{site.env['PATH']}"}
    if how == "none":
        env["NFRESUME_CONTAINER_ENGINE"] = "none"
    for name in ("docker", "podman", "apptainer") if how != "none" else ():
        (site.base / "bin" / name).write_text("#!/bin/sh\nexit 1\n")
        (site.base / "bin" / name).chmod(0o755)
    done = site.ok("launch", "flow.py:flow", "--file", "a.txt", **env)
    assert json.loads(done.out)[:2] == ["2", "host"]
    said = "tasks use the tools of this host (there is no container engine that works); Dockerfile would " \
           "install: "
    assert done.err.count(said + "bowtie2, samtools, pysam, numpy, star\n") == 1, done.err
    assert done.err.count("Other.dockerfile would install: jq\n") == 1


def test_what_a_dockerfile_installs():
    """Names without versions, options and files; of all common package managers."""
    assert installed_by(DOCKERFILE) == ["bowtie2", "samtools", "pysam", "numpy", "star"]
    text = "from x\nrun mamba install -n base -c conda-forge r-base=4 && yum -y install gcc"
    assert installed_by(text) == ["r-base", "gcc"]
