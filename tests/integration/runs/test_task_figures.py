"""Timelines, durations and edges of the tasks in a record."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from nfresume.nextflow import record
from nfresume.nextflow.record import Status, Task
from nfresume.runs import task_figures
from nfresume.runs.task_index import Indexes
from tests.integration.runs.test_task_index import write

WORK = "/root/team/run-1/work"


def task(n: int, process: str, begun: int, ended: int | None, *uses: int) -> Task:
    """Task number `n`; `uses` are the numbers of tasks whose files it uses."""
    return Task(
        n, f"{process} ({n})", Status.RUNNING if ended is None else Status.COMPLETED, f"aa/{n:06x}",
        f"aa/{n:030x}", exit=None if ended is None else 0, submitted=begun, started=begun, completed=ended,
        inputs=tuple((f"{WORK}/aa/{each:030x}/f", 1, 1) for each in uses), memory=n * 100)


def test_a_timeline(tmp_path: Path):
    """Tasks that overlap are in rows of their own; a window has those that ran in it; running ones last until
    now.
    """
    writer = write(tmp_path, record.Header(work=WORK), task(1, "A", 0, 100), task(2, "A", 50, 150),
                   task(3, "A", 100, 200), task(4, "B", 150, None), end=False)
    with Indexes().of(tmp_path, ended=False) as index:
        found = task_figures.timeline(index, 1000)
        assert found is not None
        assert (found.first, found.last, found.total) == (0, 1000, 4)
        assert [[(bar.n, bar.row) for bar in lane.bars] for lane in found.lanes] == [
            [(1, 0), (2, 1), (3, 0)], [(4, 0)]]
        assert found.lanes[1].bars[0].ended == 1000
        window = task_figures.timeline(index, 1000, 160, 300)
        assert window is not None
        assert [bar.n for lane in window.lanes for bar in lane.bars] == [3, 4]
        only = task_figures.timeline(index, 1000, None, None, "B")
        assert only is not None
        assert [lane.process for lane in only.lanes] == ["B"]
        odd = task_figures.timeline(index, 1000, 900, 100)
        assert odd is not None
        assert odd.start < odd.end
    writer.write(task(5, "C", 10, 20))
    writer.flush()
    indexes = Indexes()
    with indexes.of(tmp_path, ended=False) as index:
        again = task_figures.timeline(index, 1000)
        assert again is not None
        assert again.total == 5
    write(tmp_path / "none")
    with indexes.of(tmp_path / "none", ended=True) as index:
        assert task_figures.timeline(index, 1000) is None


def test_an_aborted_task_lasts_until_the_end(tmp_path: Path):
    """A task that the end of its attempt aborted is drawn until then, also if all others ended before."""
    aborted = task(2, "B", 50, None)._replace(status=Status.ABORTED)
    write(tmp_path, record.Header(work=WORK), task(1, "A", 0, 60), aborted)
    with Indexes().of(tmp_path, ended=True) as index:
        found = task_figures.timeline(index, 5000)
        assert found is not None
        assert (found.last, [lane.process for lane in found.lanes]) == (5000, ["A", "B"])
        bar = found.lanes[1].bars[0]
        assert (bar.state, bar.begun, bar.ended) == ("aborted", 50, 5000)


def test_many_tasks_are_counted(tmp_path: Path):
    """With more than 2,000 tasks each interval says how many ran in it; no task is lost."""
    write(tmp_path, record.Header(work=WORK), *(task(n, f"P{n % 3}", n * 10, n * 10 + 1000)
                                                for n in range(1, 3001)))
    with Indexes().of(tmp_path, ended=True) as index:
        found = task_figures.timeline(index, 10**6)
        assert found is not None
        assert [lane.total for lane in found.lanes] == [1000, 1000, 1000]
        for lane in found.lanes:
            assert lane.bars == []
            assert len(lane.running) == task_figures.BINS
            assert 30 <= lane.running[100] <= 50  # 1000 ms / 30 ms, and those that begin or end in it
        zoomed = task_figures.timeline(index, 10**6, 5000, 9000)
        assert zoomed is not None
        assert 0 < zoomed.total <= 2000
        assert all(lane.bars for lane in zoomed.lanes)


def test_durations_and_memory(tmp_path: Path):
    """The quartiles and sums of finished tasks by process, in the order in which processes appeared."""
    write(tmp_path, record.Header(work=WORK), *(task(n, "Z", 0, n * 10) for n in range(1, 6)),
          task(9, "A", 0, 5), task(10, "A", 0, None))
    with Indexes().of(tmp_path, ended=True) as index:
        assert [(box.process, box.count, box.values, box.total) for box in task_figures.boxes(index)] == [
            ("Z", 5, (10, 20, 30, 40, 50), 150), ("A", 1, (5, 5, 5, 5, 5), 5)]
        assert task_figures.boxes(index, "memory")[0].values == (100, 200, 300, 400, 500)


def test_who_uses_whose_files(tmp_path: Path):
    """Each task counts once, however often the record has it; files from elsewhere have no maker."""
    one = task(2, "B", 0, 10, 1)
    write(tmp_path, record.Header(work=WORK), task(1, "A", 0, 5), one._replace(status=Status.RUNNING), one,
          one._replace(was="COMPLETED"), task(3, "B", 0, 10, 1, 2)._replace(status=Status.FAILED),
          task(4, "C", 0, 10, 77))
    with Indexes().of(tmp_path, ended=True) as index:
        assert index.edges == Counter({("A", "B"): 2, ("B", "B"): 1})
        maker = index.by_dir(f"aa/{1:030x}")
        assert maker is not None
        assert maker.n == 1
        assert [each.n for each in index.users_of(maker, 10)] == [2, 3]
        assert [each.n for each in index.named("B (2)", 5)] == [2]
