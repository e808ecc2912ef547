"""Random workflows give the results of plain Python: cached or not, after edits, killed at random."""

from __future__ import annotations

import json
import random
import time

import psutil
import pytest

from nfresume.domain.errors import Conflict
from tests.conftest import Site, until
from tests.tasks.generating import edited, plain, program


def settled(site: Site) -> str:
    """The state of the newest execution once it is final."""
    until(lambda: site.show()["state"] in ("FAILED", "SUCCEEDED", "CANCELLED"), 60, "an end")
    return str(site.show()["state"])


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(1, 16))
def test_same_as_plain_python(site: Site, seed: int):
    """A first launch, a second one, one after an edit, one of the old text, with another input."""
    script = site.launch_dir / "program.py"
    first = program(seed)
    second = edited(first, seed)
    for text, n in ((first, 3), (first, 3), (second, 3), (first, 4), (first, 3)):
        script.write_text(text)
        assert json.loads(site.ok("launch", "--jobs", "8", "program.py:flow", "--n", str(n)).out) == plain(
            script, n), f"seed {seed}"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [pytest.param(n, marks=pytest.mark.long) for n in range(101, 116)])
def test_killed_at_random(site: Site, seed: int):
    """A random process is killed after a random time, until the run has succeeded by relaunches."""
    pick = random.Random(seed)
    script = site.launch_dir / "program.py"
    script.write_text(program(seed))
    expected = plain(script, 3)
    words, kills = ["launch", "--detach", "--storage-expiration-hours", "9", "program.py:flow"], 0
    for attempt in range(12):
        done = site.run(*words, NFRESUME_LEASE_SECONDS="2")
        if done.code == Conflict.exit_code:  # it died before it had a cache
            done = site.ok(*words, "--from-scratch", NFRESUME_LEASE_SECONDS="2")
        execution = done.out.strip().splitlines()[-1]
        if attempt < 4:
            time.sleep(pick.uniform(0.2, 2.5))  # the moment of the kill is meant to be random
            if site.show()["state"] == "RUNNING" and (found := site.processes()):
                victim = pick.choice(found)
                kills += 1
                try:
                    victim.kill()
                except psutil.NoSuchProcess:
                    kills -= 1
        site.run("wait", execution, "--timeout", "60")
        if settled(site) == "SUCCEEDED":
            break
        if attempt == 1:
            script.write_text(edited(script.read_text(), seed))
            expected = plain(script, 3)
        words = ["relaunch", "--detach", execution]
    assert site.show()["state"] == "SUCCEEDED", f"seed {seed}"
    again = site.ok("launch", "program.py:flow")  # what the killed attempts have left in the cache
    assert json.loads(again.out) == expected, f"seed {seed}, {kills} kills"
