"""What slim and lean retention save of the work dirs that are stored now."""

from __future__ import annotations

from collections.abc import Iterable

from nfresume.domain import costs
from nfresume.domain.executions import Execution
from nfresume.domain.workdirs import Retain
from nfresume.retained import emptied as files
from nfresume.settings import Settings
from nfresume.store import Store, outcomes


def emptied(store: Store, conf: Settings, stored: Iterable[Execution]) -> int:
    """Metered bytes of files that lean retention has emptied."""
    found = (files.of(store, conf, e) for e in stored if e.retain is Retain.LEAN)
    return sum(total.metered for total in found if total is not None)


def slimmed(store: Store, stored: Iterable[Execution]) -> int:
    """Metered bytes of failed tasks that were removed at once, and would be stored if kept in full.

    A removal records blocks and counts; EFS's rule makes metered bytes of them.
    """
    ids = [e.id for e in stored if e.retain.slims]
    if not ids:
        return 0
    with store.begin(write=False) as tx:
        found = outcomes.slimmed(tx, ids)
    return sum(each.get("bytes", 0) + costs.OBJECT_BYTES * (each.get("files", 0) + each.get("directories", 0))
               for each in found)
