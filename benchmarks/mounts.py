"""The file systems of the benchmarks: local ones, a mount with latency, and real NFS in a guest."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

HERE = Path(__file__).resolve().parent
READ, CHANGE, SLOTS = "600us", "1ms", "64"


class Place:
    """A file system: `backing` is where trees are built, `top` where tools see them."""

    def __init__(self, folder: Path) -> None:
        self.backing = self.top = folder

    def fresh(self) -> None:
        """Drop the client's caches."""

    def cpu(self) -> float:
        """CPU seconds that its server has taken, where that is a process of this machine."""
        return 0.0

    def close(self) -> None:
        """Unmount it."""


class Latency(Place):
    """The FUSE mount with injected latency."""

    def __init__(self, folder: Path, program: Path, *options: str) -> None:
        super().__init__(folder / "backing")
        self.top = folder / "mount"
        self.backing.mkdir()
        self.top.mkdir()
        self.read, self.change = READ, CHANGE
        self._program, self._options = program, options
        self._said = folder / "operations"
        self._server: subprocess.Popen[bytes] | None = None
        self.fresh()

    def fresh(self) -> None:
        self.close()
        words = [str(self._program), "-r", self.read, "-w", self.change, "-slots", SLOTS, *self._options]
        with open(self._said, "wb") as said:
            self._server = subprocess.Popen([*words, str(self.backing), str(self.top)], stderr=said)
        while not self.top.is_mount():
            time.sleep(0.01)

    def cpu(self) -> float:
        taken = psutil.Process(self._server.pid).cpu_times() if self._server is not None else None
        return taken.user + taken.system if taken is not None else 0.0

    def operations(self) -> tuple[int, int]:
        """How many reads and changes its server has been asked for since `fresh`."""
        assert self._server is not None
        os.kill(self._server.pid, signal.SIGUSR1)
        while (said := re.search(r"reads=(\d+) .*writes=(\d+)", self._said.read_text())) is None:
            time.sleep(0.01)
        return int(said[1]), int(said[2])

    def close(self) -> None:
        if self._server is not None:
            subprocess.run(["umount", "-l", str(self.top)], check=True)
            self._server.wait()


@contextmanager
def places(names: list[str], folder: Path) -> Iterator[dict[str, Place]]:
    """The file systems by name; `latency-noplus` is the mount without READDIRPLUS."""
    found: dict[str, Place] = {}
    memory = Path(tempfile.mkdtemp(prefix="nfresume-bench-", dir="/dev/shm"))
    program = folder / "latfs"
    if any(name.startswith("latency") for name in names):
        subprocess.run(["go", "build", "-o", str(program), "."], cwd=HERE / "latfs", check=True)
    try:
        for name in names:
            (folder / name).mkdir()
            if name.startswith("latency"):
                found[name] = Latency(folder / name, program, *(["-noplus"] if "noplus" in name else []))
            else:
                found[name] = Place(memory if name == "memory" else folder / name)
        yield found
    finally:
        for place in found.values():
            place.close()
        shutil.rmtree(memory)


@contextmanager
def nfs() -> Iterator[tuple[Path, Callable[[list[str]], str]]]:
    """Real NFS with a delay of 1 ms: the folder on the server, and what runs a command in a guest.

    The guest sees the folder at /mnt/efs. What the command prints is returned.
    """
    env = {**os.environ, "NFS_NAME": "nfresume-bench"}
    script = str(HERE.parent / "tests/shared/nfs.sh")

    def run(words: list[str]) -> str:
        done = subprocess.run([script, "run", "1", *words], env={**env, "DELAY": "0.5ms"}, check=False,
                              capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"the guest failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.stdout

    subprocess.run([script, "up"], check=True, env=env, stdout=subprocess.DEVNULL)
    try:
        yield Path("/dev/shm/nfresume-bench"), run
    finally:
        subprocess.run([script, "down"], check=False, env=env, stdout=subprocess.DEVNULL)
