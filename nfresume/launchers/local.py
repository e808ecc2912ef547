"""A supervisor as a detached process on this host."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from nfresume.nextflow.command import MARK
from nfresume.settings import SETTINGS, Settings


class LocalLauncher:
    """Starts `nfresume.supervisor` in a session of its own: no terminal's end reaches it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def start(self, execution_id: str, log: Path) -> None:
        """Start the supervisor of an execution; what it says goes to `log`."""
        words = [sys.executable, "-P", "-m", "nfresume.supervisor", execution_id]
        with log.open("ab") as file:
            subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd="/",
                             env=self._environment(), start_new_session=True)

    def _environment(self) -> dict[str, str]:
        """The user's environment, and our settings as they were resolved here."""
        environment = dict(os.environ)
        environment.pop(MARK, None)  # a launch from inside a task is nobody's task
        for setting in SETTINGS:
            value = getattr(self._settings, setting.key)
            if value is not None:
                environment[setting.env] = str(value)
        return environment
