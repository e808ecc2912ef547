"""Start a supervisor as a detached process on this host."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from nfresume.nextflow.command import MARK
from nfresume.settings import Settings


class LocalLauncher:
    """Starts `nfresume.runs.supervisor` in a session of its own, so that a closed terminal does not end it.

    The supervisor reads its order from standard input. So it can be started, and load its modules, while the
    launch is still being checked. Without an order it ends.
    """

    name = "local"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ready: subprocess.Popen[bytes] | None = None
        self._stdin: int | None = None

    def prepare(self, stdin: int | None = None) -> None:
        """Start a supervisor that waits for its order. It passes the descriptor `stdin` on to the head."""
        self._stdin = stdin
        self._ready = subprocess.Popen(
            [sys.executable, "-P", "-m", "nfresume.runs.supervisor"], stdin=subprocess.PIPE, cwd="/",
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=self._environment(),
            start_new_session=True, pass_fds=() if stdin is None else (stdin,),
        )

    def start(self, execution_id: str, run_name: str, log: Path) -> None:
        """Send the waiting supervisor its order; start one first if none is waiting."""
        if self._ready is None:
            self.prepare()
        assert self._ready is not None
        child, self._ready = self._ready, None
        order = {"execution": execution_id, "log": str(log), "settings": dict(self._settings.given),
                 "stdin": self._stdin}
        assert child.stdin is not None
        child.stdin.write(json.dumps(order).encode() + b"\n")
        child.stdin.close()

    def _environment(self) -> dict[str, str]:
        """The user's environment. Settings are in the order, because tasks inherit the environment."""
        environment = dict(os.environ)
        environment.pop(MARK, None)  # a launch from inside a task does not belong to that task's execution
        return environment
