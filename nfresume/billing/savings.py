"""What slim retention saves of the work dirs that are stored now."""

from __future__ import annotations

from collections.abc import Iterable

from nfresume.domain import costs
from nfresume.domain.executions import Execution
from nfresume.store import Store, outcomes


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
