"""Attempts that look lost, on a host with too much to do."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

from nfresume import settings
from nfresume.domain.executions import ExecutionState
from nfresume.runs import lost
from nfresume.store import Store, transitions
from tests.integration.store.test_store import OWNER, get, launch, store

__all__ = ["store"]  # a fixture


def test_a_supervisor_that_claims_late(store: Store):
    """Who follows a run takes it for lost in the moment in which its supervisor claims it: no error."""
    conf = replace(settings.load({}), lease_seconds=0.01)
    launch(store)
    time.sleep(0.1)
    claimed = threading.Event()

    def claim() -> None:
        with store.begin() as tx:
            transitions.claim(tx, "run-a1", OWNER, 30)
            claimed.set()
            time.sleep(0.5)

    supervisor = threading.Thread(target=claim)
    supervisor.start()
    claimed.wait()
    assert [e.id for e in lost.find(store, conf)] == ["run-a1"]
    lost.settle_if_lost(store, conf, "run-a1")
    supervisor.join()
    assert get(store).state is ExecutionState.RUNNING
