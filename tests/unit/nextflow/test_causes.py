"""What differs between two runs of a task, and the hashes that tell whether anything does."""

from __future__ import annotations

import pytest

from nfresume.nextflow import causes, hashing
from nfresume.nextflow.causes import Known
from nfresume.nextflow.record import Status, Task

WORK = "/root/team/x-1/work"


def known(*inputs: tuple[str, int, int], name: str = "A", script: str = "same", **more: object) -> Known:
    return Known(Task(1, name, Status.COMPLETED, inputs=inputs), 1, script, **more)  # type: ignore[arg-type]


def kinds(old: Known, new: Known, *ran: str) -> list[str]:
    tasks = {each: Task(2, "UP", Status.COMPLETED, dir=each) for each in ran}
    return [cause.kind for cause in causes.differences(old, new, tasks.get, WORK)]


def test_the_order_of_inputs():
    """Inputs that come in another order, as from a channel without a sort, are a cause of their own."""
    a, b = ("/d/a", 1, 1), ("/d/b", 1, 1)
    assert kinds(known(a, b), known(b, a)) == ["input_order"]
    assert kinds(known(a, b), known(a, b)) == []


def test_inputs_of_other_tasks():
    """An input from a task dir follows from its task if that ran now; else it is from another task dir."""
    old, new = (f"{WORK}/aa/1111/x", 1, 1), (f"{WORK}/bb/2222/x", 1, 2)
    assert kinds(known(old), known(new), "bb/2222") == ["upstream"]
    assert kinds(known(old), known(new)) == ["input_moved"]
    assert kinds(known(old), known((old[0], 1, 3)), "aa/1111") == ["upstream"]  # in the same task dir again


def test_a_file_with_another_name():
    """A renamed file is known by its size and time."""
    assert kinds(known(("/d/a", 5, 7)), known(("/d/b", 5, 7))) == ["input_moved"]
    assert kinds(known(("/d/a", 5, 7)), known(("/d/b", 6, 8))) == ["input_added", "input_removed"]


def test_lines_of_a_script():
    """The difference of a script shows options that begin with dashes, and at most twelve lines."""
    found = causes.differences(known(script="--a 1\n"), known(script="--a 2\n"), lambda _: None, WORK)
    assert found[0].detail == ("---a 1", "+--a 2")
    long = causes.differences(known(script="".join(f"{n}\n" for n in range(40))), known(script=""),
                              lambda _: None, WORK)
    assert long[0].detail[-1] == "... 28 more lines"


@pytest.mark.parametrize(("same", "kind"), [(True, "parameter"), (False, "script")])
def test_a_parameter_in_a_script(same: bool, kind: str):
    """That a parameter changed the script is certain only if the pipeline's files are the same."""
    old = known(script="n 1", parameters={"n": "1"}, sources={"main.nf": "x"})
    new = known(script="n 2", parameters={"n": "2"}, sources={"main.nf": "x" if same else "y"})
    assert kinds(old, new) == [kind]


def test_hashes():
    """A known value of MurmurHash3 (Guava's tests), and a chain as Nextflow 24.10.5 made it."""
    assert hashing.murmur3_128(b"").hex() == "0" * 32
    assert hashing.murmur3_128(b"abc").hex() == "6778ad3f3f3f96b4522dca264174a23b"
    first, second = "7a/132df6edb8f57f3261b215dcd86672", "40/1c7920411d3eb4933b82e6ba6d94b5"
    third, retry = "99/4f479b32fa5003b109b08f607e5c4e", "a9/29db9943471414003a9548194dc541"
    assert hashing.follows(first, second)
    assert hashing.follows(first, third)
    assert hashing.follows(third, retry)
    assert hashing.follows(first, first)
    assert not hashing.follows(second, first)
    assert not hashing.follows(first, retry)  # why a resume does not find such a retry
    assert not hashing.follows("", first)
