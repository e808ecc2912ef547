"""A real Slurm cluster on loopback: a controller and two nodes, stopped by their own pids."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import BOUND, until

_CONF = """
ClusterName=nfr
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port0}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={run}/munge.sock,cred_expire=5
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={base}/state
SlurmdSpoolDir={base}/spool/%n
SlurmctldPidFile={run}/slurmctld.pid
SlurmdPidFile={run}/slurmd-%n.pid
SlurmctldLogFile={base}/log/slurmctld.log
SlurmdLogFile={base}/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SwitchType=switch/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MinJobAge=3600
KillWait=10
SlurmdTimeout=10
InactiveLimit=0
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=n[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{port1}-{port2}] CPUs=8 RealMemory=16000 \\
    Gres=gpu:4
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE DefMemPerCPU=500 State=UP
"""
NODES = ("n1", "n2")


@dataclass
class Slurm:
    """The cluster; commands find it through SLURM_CONF."""

    base: Path
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        return {"SLURM_CONF": str(self.base / "etc/slurm.conf")}

    def ask(self, *words: str) -> str:
        done = subprocess.run(words, env={**os.environ, **self.env}, capture_output=True, text=True,
                              timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def jobs(self) -> dict[str, str]:
        """The state of each job by its name; of several jobs with one name, the newest."""
        lines = self.ask("squeue", "--noheader", "--states=all", "--sort=i", "--format=%j %T").splitlines()
        return dict(line.rsplit(" ", 1) for line in lines)

    def start(self, name: str, *words: str) -> None:
        self.daemons[name] = subprocess.Popen(words, env={**os.environ, **self.env}, start_new_session=True,
                                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def start_node(self, node: str) -> None:
        self.start(node, *BOUND, "slurmd", "-D", "-N", node)

    def stop(self, name: str, how: int = signal.SIGTERM) -> None:
        daemon = self.daemons.pop(name)
        daemon.send_signal(how)
        try:
            daemon.wait(10)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()

    def ready(self) -> bool:
        done = subprocess.run(["sinfo", "--noheader", "--format=%T"], env={**os.environ, **self.env},
                              capture_output=True, text=True)
        return set(done.stdout.split()) <= {"idle", "mixed", "allocated"} and done.stdout.strip() != ""


def _free_ports() -> int:
    """The first of three consecutive free ports."""
    while True:
        first = 20_000 + secrets.randbelow(20_000)
        try:
            for port in range(first, first + 3):
                socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return first


@pytest.fixture(scope="session")
def cluster() -> Iterator[Slurm]:
    absent = [name for name in ("slurmctld", "slurmd", "munged", "sbatch") if not shutil.which(name)]
    if absent:
        if os.environ.get("CI"):
            raise RuntimeError(f"no {', '.join(absent)}: tests/install.sh")
        pytest.skip(f"needs {', '.join(absent)}: tests/install.sh")
    base = Path(tempfile.mkdtemp(prefix="nfr-slurm-"))  # short: a socket's path has at most 107 bytes
    for name in ("etc", "run", "log", "state", "spool/n1", "spool/n2"):
        (base / name).mkdir(parents=True)
    os.chmod(base, 0o755)
    key = base / "etc/munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o600)
    first = _free_ports()
    (base / "etc/slurm.conf").write_text(_CONF.format(
        host=socket.gethostname().partition(".")[0], user=pwd.getpwuid(os.getuid()).pw_name, base=base,
        run=base / "run", port0=first, port1=first + 1, port2=first + 2))
    devices = ",".join(f"/dev/{name}" for name in ("full", "null", "random", "zero"))  # that are no GPUs
    (base / "etc/gres.conf").write_text(f"NodeName=n[1-2] Name=gpu File={devices}\n")
    slurm = Slurm(base)
    run, log = base / "run", base / "log"
    slurm.start("munge", "munged", "--foreground", f"--key-file={key}", f"--socket={run}/munge.sock",
                f"--pid-file={run}/munged.pid", f"--log-file={log}/munged.log",
                f"--seed-file={run}/munged.seed")
    until(lambda: (run / "munge.sock").exists(), what="munge")
    slurm.start("controller", "slurmctld", "-D", "-c")
    for node in NODES:
        slurm.start_node(node)
    try:
        until(slurm.ready, 60, "two idle nodes")
        yield slurm
    finally:
        subprocess.run(["scancel", f"--user={pwd.getpwuid(os.getuid()).pw_name}"], check=False,
                       env={**os.environ, **slurm.env})
        time.sleep(1)
        for name in list(slurm.daemons):
            slurm.stop(name)
        shutil.rmtree(base, ignore_errors=True)
