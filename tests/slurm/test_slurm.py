"""Executions as jobs of a real Slurm: the head is a batch job, and its tasks are others."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from nfresume.launchers import slurm
from tests.conftest import PROJECT, Site, snapshot, until
from tests.slurm.conftest import Slurm

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("slurm")]
_CONFIG = """
process.executor = 'slurm'
executor { pollInterval = '500 ms'; queueStatInterval = '2 sec'; submitRateLimit = '20 sec' }
"""


@pytest.fixture
def batch(site: Site, cluster: Slurm, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A site whose supervisors are Slurm jobs and whose pipelines submit their tasks to Slurm."""
    site.env.update(cluster.env, NFRESUME_LAUNCHER="slurm", NFRESUME_LEASE_SECONDS="4")
    monkeypatch.setenv("SLURM_CONF", cluster.env["SLURM_CONF"])
    (site.launch_dir / "slurm.config").write_text(_CONFIG.replace("submitRateLimit = '20 sec' ", ""))
    return site


def launch(site: Site, name: str, *words: str) -> str:
    """Launch on Slurm, detached; returns the execution's id."""
    done = site.ok("launch", "--detach", "--storage-expiration-hours", "5", name, "-c", "slurm.config",
                   *words)
    return done.out.split()[-1]


def ended(site: Site, execution_id: str, code: int | None = None) -> dict[str, Any]:
    done = site.run("wait", execution_id, timeout=200)
    assert code is None or done.code == code, done.err
    return site.show(execution_id)


def test_results_are_those_of_a_plain_run(batch: Site, cluster: Slurm, tmp_path: Path):
    """Head and tasks are jobs; the results equal those without Slurm, byte for byte."""
    batch.pipeline("modules")
    execution = launch(batch, "modules", "--outdir", "on-slurm")
    shown = ended(batch, execution, 0)
    assert shown["state"] == "SUCCEEDED"
    until(lambda: cluster.jobs()[f"{execution}-1"] in ("COMPLETED", "COMPLETING"), what="the end of its job")
    jobs = cluster.jobs()
    assert len([name for name in jobs if name.startswith("nf-")]) >= 1
    batch.ok("launch", "modules", "--outdir", "plain", NFRESUME_LAUNCHER="local")
    assert snapshot(batch.launch_dir / "on-slurm") == snapshot(batch.launch_dir / "plain") != {}


def test_the_environment_of_tasks(batch: Site):
    """A task on Slurm has our mark, and none of the variables that we set for Nextflow."""
    (batch.launch_dir / "env.nf").write_text("""
        process A { publishDir 'results', mode: 'copy'
          output: path 'env.txt'
          script: "env | grep -oE '^(NXF_|NFRESUME_RUN|BASH_ENV)[A-Z_]*' | sort > env.txt" }
        workflow { A() }
    """)
    ended(batch, launch(batch, "env.nf"), 0)
    assert (batch.launch_dir / "results/env.txt").read_text().split() == ["NFRESUME_RUN", "NXF_TASK_WORKDIR"]


def test_a_job_array(batch: Site):
    """With Nextflow's `array` several tasks run in one job; each is counted, and the log is complete."""
    (batch.launch_dir / "array.nf").write_text("""
        process A { array 2; publishDir 'results'
          input: val n
          output: path "${n}.txt"
          script: "echo ${n} > ${n}.txt" }
        workflow { A(Channel.of(1, 2, 3, 4)) }
    """)
    shown = ended(batch, launch(batch, "array.nf"), 0)
    assert (shown["state"], shown["work_dir"]["state"]) == ("SUCCEEDED", "DELETED")
    assert shown["attempts"][0]["tasks"]["succeeded"] == 4
    assert len(list((batch.launch_dir / "results").iterdir())) == 4


def test_cancel(batch: Site, cluster: Slurm):
    """Cancelling a running execution ends its tasks' jobs; cancelling a queued one cancels its job."""
    batch.pipeline("slow")
    execution = launch(batch, "slow")
    until(lambda: _running(cluster, "nf-SLOW"), 60)
    [number] = cluster.ask("squeue", "--noheader", f"--name={execution}-1", "--format=%A").split()
    requeued = subprocess.run(["scontrol", "requeue", number], env={**os.environ, **cluster.env},
                              capture_output=True, text=True)
    assert requeued.returncode != 0  # Slurm must not restart a head: no supervisor would own it
    batch.ok("cancel", execution)
    assert ended(batch, execution)["state"] == "CANCELLED"
    until(lambda: all(s != "RUNNING" for s in cluster.jobs().values()), 30, "no job to run")
    waiting = _held(batch)
    assert cluster.jobs()[f"{waiting}-1"] == "PENDING"
    assert batch.show(waiting)["state"] == "QUEUED"
    swept = batch.ok("sweep", NFRESUME_LEASE_SECONDS="0.1").out
    assert "its Slurm job is waiting" in swept
    batch.ok("cancel", waiting)
    assert batch.show(waiting)["state"] == "CANCELLED"
    until(lambda: cluster.jobs()[f"{waiting}-1"] == "CANCELLED", 20)


def _held(site: Site) -> str:
    site.env["NFRESUME_SLURM_OPTIONS"] = "--hold"
    execution = launch(site, "slow")
    del site.env["NFRESUME_SLURM_OPTIONS"]
    return execution


@pytest.mark.long
@pytest.mark.parametrize("crash", ["head", "node"])
def test_a_crash(batch: Site, cluster: Slurm, crash: str):
    """Supervisor and Nextflow are killed, alone or with their node: a sweep settles the attempt, a relaunch
    cancels orphaned jobs and ends with the results of a clean run."""
    batch.pipeline("slow")
    execution = launch(batch, "slow", "--seconds", "30")
    until(lambda: _running(cluster, "nf-SLOW"), 60, "the task's job")
    [orphan] = _running(cluster, "nf-SLOW")
    if crash == "node":
        [node] = set(cluster.ask("squeue", "--noheader", f"--name={execution}-1", "--format=%N").split())
        cluster.stop(node, signal.SIGKILL)
    for process in batch.processes():
        if process.environ().get("SLURM_JOB_NAME") == f"{execution}-1":
            process.kill()
    gone = ("FAILED", "NODE_FAIL")
    until(lambda: cluster.jobs()[f"{execution}-1"] in gone, 90, "Slurm notices")
    until(lambda: batch.run("sweep") and batch.show(execution)["state"] == "FAILED", 60, "a sweep settles it")
    if crash == "node":
        cluster.start_node(node)
        until(cluster.ready, 60, "the node")
    assert batch.ok("relaunch", "--detach", execution, "--seconds", "1").out.split()[-1] == execution
    shown = ended(batch, execution, 0)
    assert (shown["state"], shown["attempts"][-1]["tasks"]["cached"]) == ("SUCCEEDED", 1)
    assert (batch.launch_dir / "results/slow.1").read_text() == "begin\nend\n"
    assert orphan not in _running(cluster, "nf-SLOW")


def _running(cluster: Slurm, name: str) -> list[str]:
    return [n for n, state in cluster.jobs().items() if n.startswith(name) and state == "RUNNING"]


@pytest.mark.long
def test_a_controller_that_is_down_is_no_end(batch: Site, cluster: Slurm):
    """While the controller does not answer, job states are unknown: nothing is settled or relaunched."""
    assert slurm.job("never-was") is slurm.Job.GONE
    batch.pipeline("slow")
    # Tasks run in the head's job: Nextflow need not ask Slurm.
    (batch.launch_dir / "slurm.config").write_text("")
    execution = launch(batch, "slow", "--seconds", "40")
    until(lambda: batch.show(execution)["state"] == "RUNNING", 60)
    before = batch.supervisors()
    assert before
    for process in before:
        process.suspend()  # its lease runs out, as if its host had lost the network
    cluster.stop("controller")
    try:
        until(lambda: "its Slurm job is unknown" in batch.run("sweep", timeout=90).out, 120)
        assert batch.show(execution)["state"] == "RUNNING"
    finally:
        cluster.start("controller", "slurmctld", "-D")
        until(cluster.ready, 60, "the nodes")
    assert "its Slurm job is running" in batch.ok("sweep").out
    for process in before:
        process.resume()
    batch.ok("cancel", execution)
    assert ended(batch, execution)["state"] == "CANCELLED"


def test_slurm_refuses(batch: Site):
    """When Slurm refuses an option, its own message is shown, and the execution does not hang."""
    batch.pipeline("scratch")
    refused = batch.run("launch", "--detach", "scratch", NFRESUME_SLURM_OPTIONS="--partition=nowhere")
    assert refused.code == 80
    assert "Slurm did not take the job" in refused.err
    assert "nowhere" in refused.err or "partition" in refused.err


@pytest.mark.long
def test_tasks_of_a_python_workflow(batch: Site, cluster: Slurm):
    """Each task is a job with the resources of its decorator; a relaunch works; a cancel ends the jobs."""
    script = batch.launch_dir / "arithmetic.py"
    script.write_bytes((PROJECT / "tests/workflows/arithmetic.py").read_bytes())
    script.write_text(script.read_text().replace("@task\ndef add(", "@custom_task(2, 0.1)\ndef add("))

    def start(name: str) -> str:
        return batch.ok("launch", "--detach", "--storage-expiration-hours", "5", name).out.split()[-1]

    execution = start("arithmetic.py:one_fails")
    assert ended(batch, execution, 1)["attempts"][0]["error"].startswith("Process `fails (1)` failed")
    jobs = [name for name in cluster.jobs() if name.startswith(f"{execution}-1-")]
    assert sorted(jobs) == [f"{execution}-1-0", f"{execution}-1-1"]
    add = f"--name={execution}-1-0"
    asked = cluster.ask("squeue", "--noheader", "--states=all", add, "--format=%C %m")
    assert asked.split() == ["2", "102M"]
    text = script.read_text()
    script.write_text(text.replace("    raise ValueError", "    return 7\n    raise ValueError"))
    batch.ok("relaunch", "--detach", execution)
    assert ended(batch, execution, 0)["attempts"][1]["tasks"]["cached"] == 1
    assert batch.ok("logs", execution).out.startswith("42\n")
    waiting = start("arithmetic.py:waits")
    until(lambda: _running(cluster, f"{waiting}-1-1"), 60)
    batch.ok("cancel", waiting)
    assert ended(batch, waiting)["state"] == "CANCELLED"
    until(lambda: all(s != "RUNNING" for s in cluster.jobs().values()), 30, "no job to run")


@pytest.mark.long
def test_a_task_with_gpus_in_a_container(batch: Site):
    """The container gets those GPUs of the node that Slurm gave to the job."""
    batch.env |= {"ENGINE_LOG": str(batch.base / "engine.log"), "ENGINE_TOOLS": str(batch.base),
                  "NFRESUME_CONTAINER_ENGINE": str(PROJECT / "tests/tasks/docker.sh")}
    (batch.launch_dir / "flow.py").write_text("""
import os
from flytekit import Resources, task, workflow

@task(requests=Resources(cpu="1", mem="100Mi", gpu="2"), container_image="cuda:12")
def seen() -> str:
    return os.environ["SLURM_JOB_GPUS"]

@workflow
def flow() -> str:
    return seen()
""")
    given = batch.ok("launch", "--storage-expiration-hours", "5", "flow.py:flow").out.strip().strip('"')
    assert len(given.split(",")) == 2
    assert f'--gpus "device={given}"' in (batch.base / "engine.log").read_text()
