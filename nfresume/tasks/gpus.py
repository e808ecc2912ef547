"""The GPUs of this host. Tasks that ask for some do not share them: each is told which ones are its own."""

from __future__ import annotations

import os
import shutil
import subprocess

#: What tells a program which GPUs it may use.
VARIABLE = "CUDA_VISIBLE_DEVICES"
#: What tells a Slurm job which GPUs of its node it has. `VARIABLE` counts only those that it may see.
_OF_JOB = "SLURM_JOB_GPUS"


class Gpus:
    """Those that no task uses at present, by the name that CUDA_VISIBLE_DEVICES has for them."""

    def __init__(self) -> None:
        self._free: list[str] | None = None
        self._all = 0

    @property
    def total(self) -> int:
        """How many there are. They are looked for when they are asked for first."""
        if self._free is None:
            self._free = _of_host()
            self._all = len(self._free)
        return self._all

    def has(self, count: int) -> bool:
        """Whether so many are free."""
        return count == 0 or (self.total > 0 and count <= len(self._free or ()))

    def take(self, count: int) -> tuple[str, ...]:
        """The names of so many that are free."""
        found, self._free = tuple((self._free or [])[:count]), (self._free or [])[count:]
        return found

    def give_back(self, names: tuple[str, ...]) -> None:
        """Note that a task has ended which had these."""
        self._free = [*(self._free or []), *names]


def _of_host() -> list[str]:
    if (visible := os.environ.get(VARIABLE)) is not None:
        names = [name.strip() for name in visible.split(",")]
        return [name for name in names if name not in ("", "-1", "NoDevFiles")]
    if (program := shutil.which("nvidia-smi")) is None:
        return []
    try:
        done = subprocess.run([program, "--query-gpu=index", "--format=csv,noheader"], text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.split() if done.returncode == 0 else []


def options(engine: str, names: tuple[str, ...]) -> list[str]:
    """The words with which a container engine gives a container these GPUs."""
    if not names:
        return _of_slurm(engine)
    if engine == "docker":
        return ["--gpus", f'"device={",".join(names)}"']
    if engine == "podman":
        return [word for name in names for word in ("--device", f"nvidia.com/gpu={name}")]
    return ["--nv", "--env", f"{VARIABLE}={','.join(names)}"]


def _of_slurm(engine: str) -> list[str]:
    """The words for the GPUs that Slurm gave to the job that this process is in."""
    found = os.environ.get(VARIABLE if engine == "apptainer" else _OF_JOB, "")
    return options(engine, tuple(found.split(","))) if _OF_JOB in os.environ and found else []
