"""A supervisor as a detached process on this host."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from nfresume.nextflow.command import MARK
from nfresume.settings import Settings


class LocalLauncher:
    """Starts `nfresume.runs.supervisor` in a session of its own: no terminal's end reaches it.

    A supervisor waits on its standard input for its order, so it can be made ready while the launch
    is still being checked; without an order it ends by itself.
    """

    name = "local"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ready: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """Let a supervisor load its modules meanwhile."""
        self._ready = subprocess.Popen(
            [sys.executable, "-P", "-m", "nfresume.runs.supervisor"], stdin=subprocess.PIPE, cwd="/",
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=self._environment(),
            start_new_session=True,
        )

    def start(self, execution_id: str, run_name: str, log: Path) -> None:
        """Order a supervisor to own an execution; what it says goes to `log`."""
        if self._ready is None:
            self.prepare()
        assert self._ready is not None
        child, self._ready = self._ready, None
        order = {"execution": execution_id, "log": str(log), "settings": dict(self._settings.given)}
        assert child.stdin is not None
        child.stdin.write(json.dumps(order).encode() + b"\n")
        child.stdin.close()

    def _environment(self) -> dict[str, str]:
        """The user's own: settings come with the order, since tasks inherit what is in the environment."""
        environment = dict(os.environ)
        environment.pop(MARK, None)  # a launch from inside a task is nobody's task
        return environment
