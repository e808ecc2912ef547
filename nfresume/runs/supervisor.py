"""The process that supervises one attempt: `python -m nfresume.runs.supervisor`.

It reads its order, one line of JSON, from standard input; without one it ends. Once its attempt is settled
it sweeps for a while, so that work dirs expire also where nobody runs a server.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys

from nfresume import settings
from nfresume.domain.errors import Conflict, NfresumeError, StaleClaim, StaleLease
from nfresume.runs import delivery, sweeper
from nfresume.runs.supervision import supervise
from nfresume.store import Store

#: How long a supervisor that is done waits for the delivery of its notices.
NOTIFY_SECONDS = 30.0


def main() -> None:
    """Supervise the execution named in the order on standard input."""
    line = sys.stdin.readline()
    if not line:
        return  # no order: the launch was refused, or the process that started us has died
    order = json.loads(line)
    with contextlib.suppress(OSError):  # full disk: our messages are lost, the outcome is in the database
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
    conf = settings.load(**order["settings"])
    store = Store.open(conf.database_url)
    notices = delivery.Sender(store, conf)
    try:
        supervise(store, conf, order["execution"], settled=notices.start, stdin=order.get("stdin"))
        _sweep(store, conf)
    except (Conflict, StaleLease, StaleClaim) as e:
        print(f"nothing to do: {e}", file=sys.stderr)
    finally:
        for trouble in notices.join(NOTIFY_SECONDS):
            print(trouble, file=sys.stderr)
        store.close()


def _sweep(store: Store, conf: settings.Settings) -> None:
    try:
        lines = sweeper.sweep_a_little(store, conf)
    except NfresumeError as e:
        print(f"sweep: {e}", file=sys.stderr)
        return
    for line in lines:
        print(f"sweep: {line.execution.id}: {line.action}: {line.error or line.done}", file=sys.stderr)


if __name__ == "__main__":
    main()
