"""The outbox on real databases: each notice goes to each channel once, with retries up to a limit."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest

from nfresume.store import Store, outbox, schema, transitions
from nfresume.store.transitions import NewAttempt, NewExecution
from tests.forging import forge

WAITS = (timedelta(minutes=1), timedelta(minutes=5))
STALE = timedelta(hours=24)


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    opened = Store.open(url)
    with opened.begin() as tx:
        transitions.register_root(tx, "root", "/root", 1)
        for name, account in (("run-1", "team"), ("run-2", "other")):
            new = NewExecution(name, account, "root", "/x", "main.nf", "/here", name, 5.0, "t", False)
            transitions.launch(tx, new, NewAttempt("main.nf", (), False, None, None), "me")
    yield opened
    opened.close()


def due(store: Store, channel: str = "c", account: str | None = None) -> list[str]:
    with store.begin(write=False) as tx:
        return [execution for _, _, execution in outbox.due(tx, channel, ["launch"], STALE, account)]


def claim(store: Store, event: int = 1, channel: str = "c") -> bool:
    with store.begin() as tx:
        return outbox.claim(tx, event, channel, WAITS)


def later(store: Store) -> None:
    """Make the next tries due."""
    with store.begin() as tx:
        tx.conn.execute(schema.deliveries.update().where(schema.deliveries.c.next_try_at.is_not(None))
                        .values(next_try_at=tx.now - timedelta(seconds=1)))


def test_each_channel_is_told_once(store: Store):
    """A delivered notice is not due again on its channel; a channel may be limited to one account."""
    assert due(store) == ["run-1", "run-2"]
    assert due(store, account="other") == ["run-2"]
    assert claim(store)
    assert due(store) == ["run-2"]
    with store.begin() as tx:
        outbox.delivered(tx, 1, "c")
    later(store)
    assert due(store) == ["run-2"]
    assert due(store, "d") == ["run-1", "run-2"]
    with store.begin() as tx:
        assert outbox.summary(tx, "c") == (1, 0, None)


def test_a_failure_is_tried_again_and_then_given_up(store: Store):
    """A failed delivery is due again after each of the waits, then no more; its error stays."""
    for _ in range(2):
        assert claim(store)
        assert not claim(store)
        with store.begin() as tx:
            outbox.failed(tx, 1, "c", "no answer")
        later(store)
    assert "run-1" in due(store)
    assert claim(store)
    later(store)
    assert due(store) == ["run-2"]
    with store.begin() as tx:
        assert outbox.summary(tx, "c") == (0, 1, "no answer")


def test_one_of_many_tells_it(store: Store):
    """Of several servers that claim one delivery at once, one wins."""
    won: list[bool] = []
    threads = [threading.Thread(target=lambda: won.append(claim(store))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 7 + [True]


def test_history_is_not_told(store: Store):
    """A new channel gets no event older than a day."""
    with store.begin() as tx:
        forge(tx, at=tx.now - timedelta(hours=25))
    assert due(store) == []
