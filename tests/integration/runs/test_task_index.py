"""Pages of tasks: sorted, filtered, counted, and as new as the record."""

from __future__ import annotations

from pathlib import Path

import pytest

from nfresume.nextflow import record, record_file
from nfresume.nextflow.record import Status, Task
from nfresume.runs import task_index
from nfresume.runs.task_index import SORTS, STATES, Indexes, Query, StillReading
from tests import logs
from tests.conftest import until


def write(attempt_dir: Path, *lines: record.Line, token: int = 1, end: bool = True) -> record_file.Writer:
    attempt_dir.mkdir(parents=True, exist_ok=True)
    writer = record_file.Writer(record_file.path_of(attempt_dir, token))
    for line in lines:
        writer.write(line)
    if end:
        writer.close(record.End(1))
    else:
        writer.flush()
    return writer


TASKS = [
    Task(1, "ALIGN (s1)", Status.COMPLETED, "aa/000001", "aa/000001x", submitted=0, completed=500),
    Task(2, "ALIGN (s_2%)", Status.FAILED, "aa/000002", "aa/000002x", submitted=0, completed=900),
    Task(3, "CALL (s1)", Status.FAILED, "aa/000003", "bb/000003x", ignored=True),
    Task(4, "CALL (s2)", Status.CACHED, "aa/000004", "bb/000004x", took=700),
    Task(5, "MERGE", Status.RUNNING, "aa/000005", submitted=0),
    Task(6, "KEPT", Status.STORED), Task(7, "MERGE", Status.ABORTED, "aa/000007", submitted=0),
]


@pytest.mark.parametrize(("query", "found"), [
    (Query(), [1, 2, 3, 4, 5, 6, 7]), (Query(sort="newest", limit=2), [7, 6]), (Query(offset=5), [6, 7]),
    (Query(sort="longest", limit=3), [2, 4, 1]), (Query(sort="name", limit=3), [1, 2, 3]),
    (Query(state="failed"), [2, 3]), (Query(state="cached"), [4, 6]), (Query(state="running"), [5]),
    (Query(state="aborted"), [7]), (Query(process="CALL", state="failed"), [3]), (Query(text="s1"), [1, 3]),
    (Query(text="_2%"), [2]), (Query(text="bb/0"), [3, 4]), (Query(text="nothing"), []),
    (Query(state="x'; DROP TABLE task; --", sort="n; --"), [1, 2, 3, 4, 5, 6, 7]),
])
def test_pages(tmp_path: Path, query: Query, found: list[int]):
    """State, process and text filter; the total counts all pages; names are no patterns."""
    write(tmp_path / "1", *TASKS)
    with Indexes().of(tmp_path / "1", ended=True) as tasks:
        page = tasks.page(query)
        assert [task.n for task in page.tasks] == found
        whole = tasks.page(Query(query.state, query.process, query.text, query.sort, 0, 1000))
        assert page.total == len(whole.tasks)
        assert tasks.summary.sums.failed == (TASKS[1],)


def test_an_index_follows_its_record(tmp_path: Path):
    """Only new lines are read; a new supervisor's record takes over."""
    indexes = Indexes()
    writer = write(tmp_path / "1", TASKS[0]._replace(status=Status.RUNNING, completed=None), end=False)
    with indexes.of(tmp_path / "1", ended=False) as tasks:
        assert [task.status for task in tasks.page(Query()).tasks] == ["RUNNING"]
        offset = tasks._reader.offset
    for line in (TASKS[0]._replace(was="RUNNING"), TASKS[1]):
        writer.write(line)
    writer.flush()
    with indexes.of(tmp_path / "1", ended=False) as tasks:
        assert tasks._reader.offset > offset
        assert [task.status for task in tasks.page(Query()).tasks] == ["COMPLETED", "FAILED"]
        assert tasks.summary.counts.succeeded == 1
    write(tmp_path / "1", TASKS[4], token=2, end=False)
    with indexes.of(tmp_path / "1", ended=False) as tasks:
        assert [task.name for task in tasks.page(Query()).tasks] == ["MERGE"]


def test_an_attempt_without_a_record(tmp_path: Path):
    """It is made from the log, again only when that has grown."""
    indexes = Indexes()
    place = tmp_path / "1"
    place.mkdir()
    log = place / "nextflow.log"
    log.write_text(logs.submitted(1, "A") + "\n")
    with indexes.of(place, ended=False) as first:
        assert [task.status for task in first.page(Query()).tasks] == ["RUNNING"]
    with indexes.of(place, ended=False) as again:
        assert again is first
    log.write_text(logs.submitted(1, "A") + "\n" + logs.done(1, "A") + "\n")
    with indexes.of(place, ended=False) as tasks:
        assert [task.status for task in tasks.page(Query()).tasks] == ["COMPLETED"]


def test_memory_is_bounded(tmp_path: Path):
    """The indexes that were not used for longest are dropped; the one that is used stays."""
    indexes = Indexes(most=20_000)
    for number in range(1, 9):
        write(tmp_path / str(number), *(Task(n, "A", Status.CACHED) for n in range(1, 11)))
        with indexes.of(tmp_path / str(number), ended=True) as tasks:
            assert tasks.page(Query()).total == 10
    assert [path.parent.name for path in indexes._known] == ["7", "8"]
    with indexes.of(tmp_path / "1", ended=True) as tasks:
        assert tasks.page(Query()).total == 10


def test_several_large_records_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A page that needs two gets them, although both are more than the memory that is meant for them."""
    monkeypatch.setattr(task_index, "_AT_ONCE", 1000)
    indexes = Indexes(most=100)
    for number in (1, 2):
        write(tmp_path / str(number), *(Task(n, "A", Status.CACHED) for n in range(1, 5001)))
    said = 0

    def page() -> bool:
        nonlocal said
        try:
            for number in (1, 2):
                with indexes.of(tmp_path / str(number), ended=True, patience=0.0) as tasks:
                    assert tasks.page(Query()).total == 5000
        except StillReading:
            said += 1
            return False
        return True

    until(page)
    assert said >= 2


def test_states_and_sorts_are_complete(tmp_path: Path):
    """Every state of a task can be chosen, and every order works."""
    write(tmp_path / "1", *TASKS)
    with Indexes().of(tmp_path / "1", ended=True) as tasks:
        assert sum(tasks.page(Query(state=state)).total for state in STATES) == len(TASKS)
        for sort in SORTS:
            assert len(tasks.page(Query(sort=sort)).tasks) == len(TASKS)
