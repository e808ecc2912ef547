"""Filters of the list: few matches come from an index, many are met in the order of the list."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from nfresume.domain.executions import ExecutionState
from nfresume.domain.workdirs import WorkDirState
from nfresume.store import Store, listing, transitions
from nfresume.store.listing import Filter
from nfresume.store.transitions import NewAttempt, NewExecution

#: Who launched what, with which tag.
LAUNCHED = [("ada@web(10.0.0.7)", "nf-core/RNAseq", "liver"), ("ada", "nf-core/sarek", "li%er"),
            ("grace", "/p/50%_off/main.nf", 'a"b\\'), ("adam", "nf-core/rnaseq", "Größe")]
FILTERS = [Filter(user=user) for user in ("ada", "ADA@", "grace", "a%", "nobody")] + [
    Filter(pipeline=text) for text in ("rnaseq", "50%_OFF", "5_%", "nothing")] + [
    Filter(text=text) for text in ("rnaseq", "RUN-1", "run-_", "sarek", "nothing")] + [
    Filter(tag=tag) for tag in ("project=liver", "project=li%er", 'project=a"b\\', "project=Größe",
                                "project=x", "other=liver", "LIVER")] + [
    Filter(user="ada", pipeline="rnaseq"), Filter(text="nf-core", tag="project=liver"),
    Filter(user="ada", states=(ExecutionState.QUEUED,)), Filter(text="run", states=(ExecutionState.FAILED,)),
    Filter(user="ada", work_dirs=(WorkDirState.ACTIVE,)),
    Filter(text="run", until=datetime(2020, 1, 1, tzinfo=UTC))]


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    opened = Store.open(url)
    with opened.begin() as tx:
        transitions.register_root(tx, "root", "/root", 1)
    for number in range(12):
        actor, pipeline, tag = LAUNCHED[number % 4]
        account = "team" if number < 10 else "other"
        new = NewExecution(f"run-{number}", account, "root", f"/w/{number}", pipeline, "/here",
                           str(uuid.uuid4()), 1.0, "test", False, tags={"project": tag})
        with opened.begin() as tx:
            transitions.launch(tx, new, NewAttempt(pipeline, (), False, None, None), actor)
    yield opened
    opened.close()


def test_the_same_are_found_either_way(store: Store, monkeypatch: pytest.MonkeyPatch):
    """However many match, and however many pipelines there are, a filter lists and counts the same."""

    def found(wanted: Filter, sort: str) -> tuple[list[str], list[str], int]:
        with store.begin(write=False) as tx:
            ids = [[e.id for e in listing.page(tx, "team", wanted, sort, 4, offset)] for offset in (0, 4)]
            return ids[0], ids[1], min(listing.count(tx, "team", wanted), 2)

    usual = {(wanted, sort): found(wanted, sort) for wanted in FILTERS for sort in listing.SORTS}
    for most in (2, 3):
        monkeypatch.setattr(listing, "MOST_COUNTED", most)
        monkeypatch.setattr(listing, "_MOST_VALUES", most)
        for (wanted, sort), before in usual.items():
            assert found(wanted, sort) == before, (wanted, sort)


@pytest.mark.parametrize(("wanted", "expected"), [
    (Filter(user="ada"), {0, 1, 3, 4, 5, 7, 8, 9}), (Filter(user="ADA@"), {0, 4, 8}),
    (Filter(user="a%"), set()),
    (Filter(pipeline="rnaseq"), {0, 3, 4, 7, 8}), (Filter(pipeline="50%_OFF"), {2, 6}),
    (Filter(text="RUN-1"), {1}), (Filter(text="run-_"), set()), (Filter(tag="project=li%er"), {1, 5, 9}),
    (Filter(tag='project=a"b\\'), {2, 6}), (Filter(tag="project=Größe"), {3, 7}),
    (Filter(tag="other=liver"), set()), (Filter(tag="LIVER"), {0, 4, 8}),
    (Filter(user="ada", pipeline="sarek"), {1, 5, 9})])
def test_what_a_filter_finds(store: Store, wanted: Filter, expected: set[int]):
    """By who launched, pipeline, id and tag; signs that a database might interpret stand for themselves."""
    with store.begin(write=False) as tx:
        found = listing.page(tx, "team", wanted, "newest", 20, 0)
        assert {e.id for e in found} == {f"run-{number}" for number in expected}
        assert listing.count(tx, "team", wanted) == len(expected)


@pytest.mark.parametrize("tag", ["project=nobody", "nobody"])
def test_a_tag_that_nobody_has_is_looked_for_in_an_index(tmp_path: Path, tag: str):
    """SQLite reads no whole row of an account, which takes 0.2 s for 100,000 executions."""
    opened = Store.open(f"sqlite:///{tmp_path / 's.db'}")
    asked: list[tuple[str, Any]] = []
    with opened.begin(write=False) as tx:
        event.listen(tx.conn, "before_cursor_execute", lambda *given: asked.append((given[2], given[3])))
        assert listing.page(tx, "team", Filter(tag=tag), "newest", 4, 0) == []
        plans = [str(row) for text, words in list(asked)
                 for row in tx.conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", words)]
    opened.close()
    assert any("USING COVERING INDEX executions_tags" in plan for plan in plans)
    assert not any("executions_newest" in plan for plan in plans)
