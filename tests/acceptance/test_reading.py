"""Our reading of a command line is Nextflow's own: both read the same random command lines."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from nfresume.domain.errors import UsageError
from nfresume.nextflow import embedded, options
from nfresume.nextflow.command import argv
from tests.unit.nextflow.test_options import RUN, WORDS

pytestmark = pytest.mark.slow


class Launcher:
    """Nextflow's launcher, asked about one command line after another in one Java process."""

    def __init__(self) -> None:
        java = embedded.java(None)
        jars = embedded.install(java)
        script = Path(__file__).with_name("reading.groovy")
        words = [*embedded.launcher(java, jars, {})[:-1], "groovy.ui.GroovyMain", str(script)]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def read(self, words: list[str]) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    made = Launcher()
    yield made
    made.process.stdin.close()
    assert made.process.wait(30) == 0


def _plain(words: list[str]) -> list[str]:
    """The same words as a user of plain Nextflow types them: global options before the word `run`."""
    pieces = list(options.scan(words))
    front = [p for p in pieces if p.name in options.GLOBAL or p.name.startswith("-D")]
    behind = options.apart([p for p in pieces if p not in front])
    return [*(w for p in front for w in p.words), "run", *(w for p in behind for w in p.words)]


@settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=WORDS)
def test_our_reading_is_nextflows(launcher: Launcher, words: list[str]):
    """Pipeline, parameters and options are read as Nextflow reads them; our words change nothing of it.

    Only a missing value is refused before: Nextflow would take the next option's name for it.
    """
    theirs = launcher.read(_plain(words))
    try:
        ours = options.parse(words)
    except UsageError:
        pieces = [p for p in options.scan(words) if p.value is None]
        assert any(p.name not in options.FLAGS | options.OPTIONAL_VALUE for p in pieces)
        return
    if "error" in theirs:
        assert launcher.read(argv([], RUN, ours)).get("error"), "plain Nextflow refuses these words"
        return
    theirs["args"] = [*(["-"] if theirs["stdin"] else []), *theirs["args"]]
    assert [p for p in (ours.pipeline, *ours.extra) if p is not None] == theirs["args"]
    values = {o.name[2:]: "true" if o.value is None else o.value for o in ours.after if o.name[:2] == "--"}
    assert {k: v.strip() for k, v in values.items()} == {k: v.strip() for k, v in theirs["params"].items()}
    for name in ("-profile", "-params-file", "-r", "-entry", "-main-script", "-plugins"):
        assert (ours.value(name) or "").strip() == (theirs[name] or ""), name
    wrapped = launcher.read(argv([], RUN, ours))
    wrapped["args"] = [*(["-"] if wrapped["stdin"] else []), *wrapped["args"]]
    assert (wrapped["name"], wrapped["work"]) == ("x-1", "/r/work")
    config = "/r/attempts/1/nfresume.config"
    added = "-C" if theirs["-C"] else "-c"
    assert wrapped[added] == [*(theirs[added] or []), config]
    unchanged = set(theirs) - {"name", "work", added}
    assert {k: wrapped[k] for k in unchanged} == {k: theirs[k] for k in unchanged}
