"""The schedule of `nfresume serve`: its sweeps overlap."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

from nfresume import daemon
from nfresume.domain.workdirs import WorkDirState
from nfresume.service.health import Health
from nfresume.store import queries
from tests.conftest import until
from tests.integration.runs.test_sweeper import Kept, site

__all__ = ["site"]


def test_what_is_due_later_does_not_wait_for_a_large_one(site: Kept):
    """A work dir that is due while the last sweep still removes a large one is deleted meanwhile, and the
    ceiling of the settings holds for both sweeps together.
    """
    conf = replace(site.conf, delete_per_second=300, sweep_seconds=0.2)
    site.failed("large", files=6000)  # 20 seconds
    begun = time.monotonic()
    stop, health = threading.Event(), Health(scheduled=True)
    scheduler = daemon._scheduler(site.store, conf, stop, health)
    try:
        until(lambda: site.state("large") is WorkDirState.DELETING, 10, "the large removal")
        site.failed("late")
        until(lambda: site.state("late") is WorkDirState.DELETED, 10, "the small removal")
        assert site.state("large") is WorkDirState.DELETING
        until(lambda: health.sweeps, 10, "a whole sweep")
    finally:
        stop.set()
        scheduler.shutdown(wait=True)
    with site.store.begin(write=False) as tx:
        removal = queries.get(tx, "large").work_dir.removal
    assert removal is not None
    assert removal.files < 300 * (time.monotonic() - begun) + 10
