"""How a supervisor starts: as a process on this host, or as a job of a batch system."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from nfresume.launchers.local import LocalLauncher
from nfresume.settings import Settings

__all__ = ["Launcher", "LocalLauncher", "chosen"]


class Launcher(Protocol):
    """Starts supervisors; `name` is kept with each attempt."""

    name: str

    def prepare(self) -> None:
        """Whatever can be done before it is known that there is something to start."""

    def start(self, execution_id: str, run_name: str, log: Path) -> None:
        """Have an execution's current attempt supervised; what the supervisor says goes to `log`."""


def chosen(settings: Settings) -> Launcher:
    """The launcher of the settings."""
    if settings.launcher == "slurm":
        from nfresume.launchers.slurm import SlurmLauncher

        return SlurmLauncher(settings)
    return LocalLauncher(settings)
