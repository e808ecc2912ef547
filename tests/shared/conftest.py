"""Real shared file systems with several hosts; see nfs.sh and moosefs.sh."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import BIN, Done

HERE = Path(__file__).resolve().parent
#: Folders of Debian and Go that a minimal PATH does not include.
os.environ["PATH"] += ":/usr/local/sbin:/usr/sbin:/sbin:/usr/local/go/bin"
#: Seconds; longer than any of these commands takes, so that only a hanging one is killed.
PATIENCE = 240


def need(*programs: str) -> None:
    """When a program is missing, or root: skip the test on a laptop, fail it in CI."""
    absent = [program for program in programs if shutil.which(program) is None]
    if absent or os.geteuid() != 0:
        reason = f"needs root and {', '.join(absent or programs)}: tests/install.sh"
        if os.environ.get("CI") and os.geteuid() == 0:
            pytest.fail(reason)
        pytest.skip(reason)


@dataclass
class Nfs:
    """An NFS server and its guests. A guest runs one command and ends."""

    name: str
    env: dict[str, str] = field(default_factory=dict)

    def control(self, *words: str) -> None:
        subprocess.run([str(HERE / "nfs.sh"), *words], check=True, env=self._env(), stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)

    def start(self, host: int, script: str, **env: str) -> subprocess.Popen[str]:
        """Boot a guest that runs a shell script and prints the script's output."""
        return subprocess.Popen(
            [str(HERE / "nfs.sh"), "run", str(host), "bash", "-euc", script], env=self._env() | env,
            text=True, errors="replace", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def run(self, host: int, script: str, **env: str) -> Done:
        child = self.start(host, script, **env)
        out, _ = child.communicate(timeout=PATIENCE)
        return Done(child.returncode, out, "")

    def ok(self, host: int, script: str, **env: str) -> str:
        done = self.run(host, script, **env)
        assert done.code == 0, f"{script}\nended with {done.code}:\n{done.out}"
        return done.out

    @property
    def export(self) -> Path:
        """The exported folder on the server, without NFS."""
        return Path("/dev/shm") / self.name

    def _env(self) -> dict[str, str]:
        return {**os.environ, **self.env, "NFS_NAME": self.name}


@pytest.fixture(scope="session")
def nfs() -> Iterator[Nfs]:
    need("ganesha.nfsd", "linux.uml", "ip", "gcc", "modprobe")
    made = Nfs(f"nfresume-nfs-{os.getpid()}")
    made.control("up")
    yield made
    made.control("down")


@pytest.fixture(scope="session")
def moosefs() -> Iterator[Path]:
    """The folder with the two mounts h1 and h2."""
    need("mfsmaster", "mfschunkserver", "mfsmount", "ip")
    name = f"nfresume-mfs-{os.getpid()}"
    env = {**os.environ, "MOOSEFS_NAME": name}

    def control(word: str) -> None:
        subprocess.run([str(HERE / "moosefs.sh"), word], check=True, env=env, capture_output=True)

    control("up")
    yield Path("/dev/shm") / name
    control("down")


@pytest.fixture(scope="session")
def nfs_database(nfs: Nfs, postgresql_url: str) -> Iterator[str]:
    """URL by which the guests reach PostgreSQL: over TCP, in the network namespace of the NFS server."""
    socket = postgresql_url.rpartition("host=")[2].split("&")[0]
    inside = ["nsenter", f"--net=/run/netns/{nfs.name}"]
    relay = subprocess.Popen([*inside, sys.executable, str(HERE / "relay.py"), socket],
                             stdout=subprocess.PIPE, text=True)
    assert relay.stdout is not None
    assert relay.stdout.readline() == "ready\n"
    yield "postgresql://postgres@10.98.1.1:5432/postgres"
    relay.kill()
    relay.wait()


def environment(root: str, database: str, **more: str) -> str:
    """Shell code that sets the environment for this root and database."""
    env = {"NFRESUME_ROOT": root, "NFRESUME_DATABASE_URL": database, "NFRESUME_ACCOUNT": "team",
           "NFRESUME_CONFIG": "/dev/null", "PATH": f"{BIN}:{os.environ['PATH']}", **more}
    return " ".join(f"export {name}={shlex.quote(value)};" for name, value in env.items())
