"""What the process that supervises one attempt does.

It reads its order, one line of JSON, from standard input; without one it ends. Once its attempt is settled
it sweeps for a while, so that work dirs expire also where nobody runs a server.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from nfresume import settings
from nfresume.domain.errors import Conflict, NfresumeError, StaleClaim, StaleLease
from nfresume.nextflow import command
from nfresume.runs import delivery, sweeper
from nfresume.runs.supervision import supervise
from nfresume.store import Store
from nfresume.system import acting, logs, pausing

_log = logging.getLogger("nfresume.supervisor")
#: How long a supervisor that is done waits for the delivery of its notices.
NOTIFY_SECONDS = 30.0


def main() -> None:
    """Supervise the execution named in the order on standard input.

    An argument names the user that this process, which root has started, becomes first.
    """
    if len(sys.argv) > 1:
        acting.become(sys.argv[1])
    line = sys.stdin.readline()
    if not line:
        return  # no order: the launch was refused, or the process that started us has died
    order = json.loads(line)
    with contextlib.suppress(OSError):  # full disk: our messages are lost, the outcome is in the database
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
    with logs.about(execution=order["execution"]):
        try:
            _run(order)
        except Exception:
            _log.exception("a fault of nfresume ended this supervisor; the next sweep sees to the attempt")
            with contextlib.suppress(OSError):  # beside the log, where `nfresume show` finds it
                Path(order["log"]).with_name(command.FAULT).write_text(traceback.format_exc())
            raise


def _run(order: dict[str, Any]) -> None:
    conf = settings.load(**order["settings"])
    logs.setup(conf.log_level, conf.log_format)
    store = Store.open(conf.database_url)
    notices = delivery.Sender(store, conf)
    try:
        stop = threading.Event()
        supervise(store, conf, order["execution"], stop, settled=notices.start, stdin=order.get("stdin"))
        if not stop.is_set():
            _sweep(store, conf, stop)
    except (Conflict, StaleLease, StaleClaim) as e:
        _log.info("nothing to do: %s", e)
    finally:
        for trouble in notices.join(NOTIFY_SECONDS):
            _log.warning("%s", trouble)
        store.close()


def _sweep(store: Store, conf: settings.Settings, stop: threading.Event) -> None:
    try:
        with pausing.pausable(stop):
            lines = sweeper.sweep_a_little(store, conf, stop)
    except NfresumeError as e:
        _log.warning("sweep: %s", e)
        return
    for line in lines:
        level = logging.WARNING if line.error else logging.INFO
        _log.log(level, "sweep: %s: %s: %s", line.execution.id, line.action, line.error or line.done)
