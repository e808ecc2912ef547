"""Start a supervisor as a detached process on this host."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from nfresume.nextflow.command import MARK
from nfresume.settings import Settings
from nfresume.system import acting
from nfresume.system.acting import OsUser

SUPERVISOR = "nfresume.runs.supervisor"
#: Settings that only a server needs.
_SERVERS = ("run_as", "notify", "oidc_issuer", "oidc_client_id", "oidc_client_secret", "oidc_admit")


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
        conf = self._settings
        user = acting.user_of(conf, conf.account)
        apart = user is not None and 0 in os.getresuid()  # root starts it, so that the user can never read it
        words = ["-I", "-m", SUPERVISOR, user.ids] if user and apart else ["-P", "-m", SUPERVISOR]
        with acting.as_server():
            self._ready = subprocess.Popen(
                [sys.executable, *words], stdin=subprocess.PIPE, cwd="/",
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                env=self._environment(user if apart else None),
                start_new_session=True, pass_fds=() if stdin is None else (stdin,),
            )

    def start(self, execution_id: str, run_name: str, log: Path) -> None:
        """Send the waiting supervisor its order; start one first if none is waiting."""
        if self._ready is None:
            self.prepare()
        assert self._ready is not None
        child, self._ready = self._ready, None
        order = {"execution": execution_id, "log": str(log), "settings": self._given(),
                 "stdin": self._stdin}
        assert child.stdin is not None
        child.stdin.write(json.dumps(order).encode() + b"\n")
        child.stdin.close()

    def _given(self) -> dict[str, Any]:
        """The settings of the supervisor. With `run_as` it gets all that it needs, and no more secrets."""
        conf = self._settings
        if not conf.run_as:
            return dict(conf.given)
        given = {key: value for key, value in conf.given.items() if key not in _SERVERS}
        return {**given, "root": str(conf.root), "web_launches": str(conf.web_launches), "host": conf.host}

    def _environment(self, user: OsUser | None) -> dict[str, str]:
        """The user's environment. Settings are in the order, because tasks inherit the environment."""
        environment = acting.environment(self._settings, user)
        environment.pop(MARK, None)  # a launch from inside a task does not belong to that task's execution
        return environment
