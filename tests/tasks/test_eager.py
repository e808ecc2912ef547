"""Eager workflows that catch the failure of a call, as flytekit's documents show."""

from __future__ import annotations

import json

import pytest

from tests.conftest import Site, first

FLOW = """
import asyncio
from typing import List
from flytekit import dynamic, eager, map_task, task, workflow
from flytekit.exceptions.eager import EagerException

BAD = {{1, 3}}

@task
def half(n: int) -> int:
    if n in BAD:
        raise ValueError(f"{{n}} is odd")
    return n // 2

@workflow
def checked(n: int) -> int:
    return half(n=half(n=n))

@dynamic
def grown(n: int) -> int:
    return half(n=n)

@dynamic
def counted(n: int) -> int:
    other = half(n=n + 2)
    for _ in half(n=n):
        pass
    return other

@eager
async def both() -> int:
    other = half(n=3)
    return await half(n=1) + other

@eager
async def inner(n: int) -> int:
    return await half(n=n) + 1

@eager
async def flow() -> object:
{body}
"""


def caught(call: str, otherwise: object) -> str:
    return f"try:\n    return await {call}\nexcept EagerException:\n    return {otherwise}"


#: What catches its failures, and its result.
GOES_ON = {
    "a call": (caught("half(n=1)", "await half(n=4)"), 2),
    "used": ("try:\n    return half(n=1) + 1\nexcept EagerException:\n    return 7", 7),
    "a call behind it": ("first = half(n=3)\n" + caught("half(n=first)", 0), 0),
    "several": ("return await asyncio.gather(*(_of(n) for n in range(5)))", [0, None, 1, None, 2]),
    "exceptions": ("calls = [_await(half(n=n)) for n in range(4)]\n"
                   "found = await asyncio.gather(*calls, return_exceptions=True)\n"
                   "return [isinstance(each, EagerException) for each in found]", [False, True, False, True]),
    "a map": (caught("map_task(half)(n=[0, 1, 2, 3])", -1), -1),
    "a workflow": (caught("checked(n=6)", -2), -2),
    "a dynamic one": (caught("grown(n=3)", -3), -3),
    "a dynamic one that stops": (caught("counted(n=1)", -6), -6),
    "all of an eager one": (caught("both()", -7), -7),
    "an eager one": (caught("inner(n=3)", -4), -4),
    "what it skips": ("a = half(n=1)\nb = half(n=a)\n" + caught("a", 5), 5),
}
#: What has a failure that nobody caught.
FAILS = {
    "not caught": "return await half(n=1)",
    "not waited for": "half(n=1)\nreturn 1",
    "another one": "half(n=1)\n" + caught("half(n=3)", 1),
    "raised again": "try:\n    await half(n=1)\nexcept EagerException:\n    raise ValueError('not a half')",
    "returned": "a = half(n=1)\n" + caught("a", "a"),
    "an inner one not waited for": "inner(n=1)\nreturn 1",
    "a dynamic one not waited for": "grown(n=1)\nreturn 1",
}
HELPERS = """
async def _await(promise):
    return await promise

async def _of(n):
    try:
        return await half(n=n)
    except EagerException:
        return None
"""


def indented(body: str) -> str:
    return "\n".join(f"    {line}" for line in body.splitlines())


def write(site: Site, body: str, more: str = "") -> None:
    (site.launch_dir / "flow.py").write_text(FLOW.format(body=indented(body)) + HELPERS + more)


def test_goes_on(site: Site):
    """What they have caught fails nothing: the execution succeeds with the functions' own results."""
    cases = "".join(f"\n@eager\nasync def case_{at}() -> object:\n{indented(body)}\n"
                    for at, (body, _) in enumerate(GOES_ON.values()))
    write(site, f"return [{', '.join(f'await case_{at}()' for at in range(len(GOES_ON)))}]", cases)
    done = site.ok("launch", "flow.py:flow")
    assert dict(zip(GOES_ON, json.loads(done.out), strict=True)) == {
        name: result for name, (_, result) in GOES_ON.items()}
    assert "1 is odd" in done.err
    shown = site.show()
    assert (shown["state"], shown["attempts"][0]["error"]) == ("SUCCEEDED", None)


@pytest.mark.parametrize("body", first(4, FAILS.values()), ids=FAILS)
def test_fails(site: Site, body: str):
    """A failure that the function did not get, or did not get over, is the execution's."""
    write(site, body)
    assert site.run("launch", "flow.py:flow").code == 1
    shown = site.show()
    assert shown["state"] == "FAILED"
    assert "half" in shown["attempts"][0]["error"]


RESUMED = """
from typing import List
from flytekit import dynamic, eager, task, workflow

@task
def count(n: int) -> List[int]:
    return list(range(n))

@task
def last(n: int) -> int:
{fails}
    return n

@{kind}
{how} grown(n: int) -> int:
    for value in count(n=n):
        pass
    for value in count(n=value):
        pass
    return last(n=value)

@workflow
def flow(n: int = 3) -> int:
    return grown(n=n)
"""


@pytest.mark.parametrize("kind", ["dynamic", "eager"])
@pytest.mark.timeout(120)
def test_it_waits_for_what_is_reused(site: Site, kind: str):
    """In a relaunch a value that is waited for is there at once, also when nothing else runs."""
    script, how = site.launch_dir / "flow.py", "async def" if kind == "eager" else "def"
    script.write_text(RESUMED.format(kind=kind, how=how, fails="    raise ValueError"))
    assert site.run("launch", "--storage-expiration-hours", "9", "flow.py:flow").code == 1
    script.write_text(RESUMED.format(kind=kind, how=how, fails=""))
    done = site.ok("relaunch", site.show()["id"])
    assert done.out.strip() == "1"
    assert site.show()["attempts"][1]["tasks"]["cached"] == 2


def test_the_reason_of_a_failure(site: Site):
    """It is what the function did not get over, and not what it caught before."""
    write(site, caught("half(n=1)", "half(n=3)"))
    assert site.run("launch", "flow.py:flow").code == 1
    assert site.show()["attempts"][0]["error"].endswith("ValueError: 3 is odd")


SIDE_BY_SIDE = """
import asyncio, os, time
from flytekit import eager, task, Resources

@task(requests=Resources(cpu="0.1", mem="10Mi"))
def meet(step: int, n: int) -> int:
    open(f"{place}/{{step}}-{{n}}", "w").close()
    end = time.monotonic() + 60
    while sum(name.startswith(f"{{step}}-") for name in os.listdir("{place}")) < 3:
        assert time.monotonic() < end, "alone"
        time.sleep(0.05)
    return n

async def one(n: int) -> int:
    await asyncio.sleep(0.1 * n)
    first = await meet(step=1, n=n)
    return await meet(step=2, n=first)

@eager
async def flow() -> list:
    return list(await asyncio.gather(*(one(n) for n in range(3))))
"""


def test_coroutines_side_by_side(site: Site):
    """While one waits for a task, the others go on: each step of them meets the same step of the others."""
    place = site.launch_dir / "meeting"
    place.mkdir()
    (site.launch_dir / "flow.py").write_text(SIDE_BY_SIDE.format(place=place))
    assert json.loads(site.ok("launch", "--jobs", "4", "flow.py:flow").out) == [0, 1, 2]


@pytest.mark.timeout(120)
def test_more_calls_than_cpus(site: Site):
    """Calls that had to wait for a CPU start when others have ended, whoever waits for these."""
    write(site, "return await asyncio.gather(*(_of(n) for n in range(5)))")
    assert json.loads(site.ok("launch", "--jobs", "1", "flow.py:flow").out) == [0, None, 1, None, 2]
