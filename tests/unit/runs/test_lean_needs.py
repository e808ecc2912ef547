"""What must run again when an emptied file is needed: enough, and in a bounded number of attempts."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from nfresume.nextflow import task_dirs
from nfresume.nextflow.mentions import Named, ancestors
from nfresume.nextflow.record import Status, Task
from nfresume.runs import lean_needs
from nfresume.storage.emptying import Emptied, total

WORK = Path("/nowhere/work")


def task_dir(number: int) -> str:
    return f"{number:02x}/{'0' * 30}"


def entry(number: int, name: str = "out.bin") -> Emptied:
    return Emptied(f"{task_dir(number)}/{name}", 100, 1, 1, 0o644, 1, 40, "", task_dir(number), "P", 1000)


@st.composite
def runs(draw: st.DrawFn) -> tuple[dict[str, Task], list[Emptied]]:
    """A run of a random DAG, and some of its outputs emptied."""
    count = draw(st.integers(1, 9))
    tasks = {}
    for number in range(count):
        makers = draw(st.sets(st.integers(0, number - 1), max_size=3)) if number else set()
        tasks[task_dir(number)] = Task(
            number, f"P{number}", draw(st.sampled_from([Status.COMPLETED, Status.CACHED])), "",
            task_dir(number), inputs=tuple((f"{WORK}/{task_dir(maker)}/out.bin", 1, 1) for maker in makers))
    emptied = draw(st.sets(st.integers(0, count - 1)))
    return tasks, [entry(number) for number in sorted(emptied)]


@given(runs(), st.data())
@settings(deadline=None)
def test_what_runs_again_has_its_inputs(run: tuple[dict[str, Task], list[Emptied]], data: st.DataObject):
    """Whatever is needed, no task that runs again reads a file that stays empty."""
    tasks, entries = run
    start = data.draw(st.sets(st.sampled_from(sorted(tasks))))
    again = lean_needs.closure(start, entries, tasks, WORK)
    assert start <= again
    left = Named(e.path for e in entries if e.producer not in again)
    for name, task in tasks.items():
        inputs = [path[len(str(WORK)) + 1:] for path, _, _ in task.inputs]
        if name in again:
            assert not any(path in left for path in inputs)
        else:
            assert not any(task_dirs.of_relative(path) in again for path in inputs)


@given(runs(), st.randoms())
@settings(deadline=None)
def test_it_ends(run: tuple[dict[str, Task], list[Emptied]], rng):
    """Needing one file after the other takes at most as many attempts as tasks have emptied files."""
    tasks, entries = run
    attempts, most = 0, len({e.producer for e in entries})
    while entries:
        start = lean_needs.producers([rng.choice(entries).path], entries)
        again = lean_needs.closure(start, entries, tasks, WORK)
        entries = [e for e in entries if e.producer not in again]
        attempts += 1
    assert attempts <= most


def test_what_names_a_file(tmp_path: Path):
    """A file is named by its folders and its task dir, not by names that only begin alike."""
    file = f"{task_dir(1)}/out/a.bin"
    for name in ancestors(file):
        assert lean_needs.producers([name], [entry(1, "out/a.bin")]) == {task_dir(1)}
    for name in (f"{file}.bai", f"{task_dir(1)}/ou", task_dir(2)):
        assert lean_needs.producers([name], [entry(1, "out/a.bin")]) == set()
    needs = lean_needs.Needs({file}, set(), {task_dir(2)})
    lean_needs.save(tmp_path, needs)
    assert lean_needs.load(tmp_path) == needs
    assert not lean_needs.load(tmp_path / "another")


def test_totals_count_each_task_once():
    """Two files of one task took its time once."""
    found = total([entry(1), entry(1, "b"), entry(2)])
    assert (found.files, found.bytes, found.tasks, found.seconds) == (3, 300, 2, 2.0)
