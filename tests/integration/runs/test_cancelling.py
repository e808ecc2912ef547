"""A cancel is obeyed whatever the supervisor does in the same moment."""

from __future__ import annotations

import pytest

from nfresume import settings
from nfresume.domain.errors import Conflict
from nfresume.domain.executions import ExecutionState
from nfresume.runs import cancelling
from nfresume.store import Store, transitions
from tests.integration.store.test_store import OWNER, fail, get, launch, race, store

__all__ = ["store"]  # a fixture


def test_a_cancel_beside_the_claim_of_the_supervisor(store: Store):
    """An execution that is claimed while it is cancelled ends as cancelled or cancelling, never running."""
    conf = settings.load({})
    ended = set()
    for number in range(20):
        name = launch(store, f"run-{number:02}")

        def claim(name: str = name) -> None:
            with store.begin() as tx:
                transitions.claim(tx, name, OWNER, 30)

        def cancel(name: str = name) -> None:
            cancelling.cancel(store, conf, get(store, name), "me")

        refused, cancelled = race([claim, cancel])
        assert cancelled is None
        ended.add(get(store, name).state)
        assert (get(store, name).state is ExecutionState.CANCELLED) == isinstance(refused, Conflict)
    assert ended <= {ExecutionState.CANCELLED, ExecutionState.CANCELLING}


def test_a_cancel_of_what_has_ended(store: Store):
    """It is refused; a second cancel of what is being cancelled is not."""
    conf = settings.load({})
    launch(store)
    with store.begin() as tx:
        transitions.claim(tx, "run-a1", OWNER, 30)
    for _ in range(2):
        cancelling.cancel(store, conf, get(store), "me")
        assert get(store).state is ExecutionState.CANCELLING
    launch(store, "run-b2")
    fail(store, "run-b2")
    with pytest.raises(Conflict):
        cancelling.cancel(store, conf, get(store, "run-b2"), "me")
