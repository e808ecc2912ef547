"""How a supervisor starts: as a process on this host, or as a job of a batch system."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from nfresume.launchers.local import LocalLauncher
from nfresume.settings import Settings

__all__ = ["Launcher", "LocalLauncher", "chosen"]


class Launcher(Protocol):
    """Starts supervisors. `name` is stored with each attempt."""

    name: str

    def prepare(self, stdin: int | None = None) -> None:
        """Prepare a start while the launch is still being checked. The head reads the descriptor `stdin`."""

    def start(self, execution_id: str, run_name: str, log: Path) -> None:
        """Start a supervisor for an execution's current attempt; its output goes to `log`."""


def chosen(settings: Settings) -> Launcher:
    """The launcher that the settings choose."""
    if settings.launcher == "slurm":
        from nfresume.launchers.slurm import SlurmLauncher

        return SlurmLauncher(settings)
    return LocalLauncher(settings)
