"""Latch's and Flyte's names, without their packages and beside them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.conftest import Site
from tests.tasks import latch_sdk
from tests.tasks.conftest import put

#: With latch installed, its package is imported: that takes long.
BOTH = [False, pytest.param(True, marks=[pytest.mark.long, pytest.mark.timeout(900)])]


def run(site: Site, with_latch: bool, *words: str, **env: str) -> str:
    """The output of nfresume in one of the two environments."""
    folder = latch_sdk.environment() if with_latch else Path(sys.executable).parent
    done = subprocess.run([str(folder / "nfresume"), *words], cwd=site.launch_dir, text=True,
                          capture_output=True, timeout=300, env={**site.env, **env})
    assert done.returncode == 0, done.stderr
    return done.stdout


def python(with_latch: bool, text: str) -> str:
    """The output of a program that has the stand-ins."""
    folder = latch_sdk.environment() if with_latch else Path(sys.executable).parent
    words = [str(folder / "python"), "-c", "from nfresume.tasks import standins\nstandins.install()\n"
             + textwrap.dedent(text)]
    done = subprocess.run(words, text=True, capture_output=True, timeout=300,
                          env={**os.environ, "HOME": "/nonexistent"})
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("with_latch", BOTH)
def test_all_names_load(site: Site, with_latch: bool):
    """A file that imports every name of the public files runs, with its own pods as resources."""
    put(site, "imports.py")
    assert json.loads(run(site, with_latch, "launch", "imports.py:calls")) == [4, 6]


def test_what_needs_the_service(site: Site):
    """It says so in one line when it is called. Secrets come from the environment or a folder."""
    put(site, "imports.py")
    (site.base / "secrets").mkdir()
    (site.base / "secrets/TOKEN").write_text("hidden\n")
    found = json.loads(run(site, False, "launch", "imports.py:asks",
                           NFRESUME_TASK_SECRETS=str(site.base / "secrets")))
    needs = "needs Latch's service: install latch and log in, or leave the call out"
    assert found == [
        f"NeedsLatch: Table.get_columns() {needs}",
        "NeedsLatch: get_secret('absent') needs Latch's service: set the environment variable absent, or put "
        "the secret into a file of that name in the folder of the setting task_secrets",
        f"NeedsLatch: Account.load() {needs}", f"NeedsLatch: Table.list_records() {needs}", "hidden"]
    assert json.loads(run(site, False, "launch", "imports.py:asks", TOKEN="given"))[4] == "given"


@pytest.mark.parametrize(("n", "name"), [
    ("1", "flytekitplugins.wandb.wandb_init"), ("0", "flytekit.ContainerTask")])
def test_what_of_flytekit_is_not_provided(site: Site, n: str, name: str):
    """A file that uses it loads. A call says in one line what is not provided."""
    put(site, "corpus/foreign_names.py")
    done = site.run("launch", "foreign_names.py:refusing", "--n", n)
    assert done.code == 1
    assert f"NotProvided: {name} is not provided by nfresume" in done.err


@pytest.mark.parametrize(("gate", "why"), [
    ("approve(one(n=1), 'ok', timeout=timedelta(hours=1))", "approve() waits for a person"),
    ("wait_for_input('n', timeout=timedelta(hours=1), expected_type=int)", "an input of the workflow")])
def test_gates_that_wait_for_people(site: Site, gate: str, why: str):
    """They are refused in one line, with what to do instead."""
    (site.launch_dir / "flow.py").write_text(
        "from datetime import timedelta\nfrom flytekit import approve, task, wait_for_input, workflow\n"
        "@task\ndef one(n: int) -> int:\n    return n\n"
        f"@workflow\ndef flow() -> int:\n    return one(n={gate})\n")
    done = site.run("launch", "flow.py:flow")
    assert done.code == 1
    assert why in done.err.splitlines()[-3]


def test_an_ignored_input(site: Site):
    """An input of cache_ignore_input_vars does not count for the cache."""
    script = put(site, "imports.py")
    run(site, False, "launch", "imports.py:calls")
    script.write_text(script.read_text().replace('note="a"', 'note="b"'))
    run(site, False, "launch", "imports.py:calls")
    assert site.show()["attempts"][0]["tasks"]["cached"] == 1


@pytest.mark.long
@pytest.mark.timeout(900)
def test_classes_of_both(site: Site):
    """With latch installed, an object of the one class passes for the other, also in flytekit's types."""
    found = python(True, """
        import json, sys
        from latch.types import LatchFile, LatchDir
        from latch.types.file import LatchFilePathTransformer   # of the installed package: it is imported
        from flytekit.core.context_manager import FlyteContextManager
        from flytekit.core.type_engine import TypeEngine
        with standins.set_aside():
            from latch.types.file import LatchFile as Theirs
            from latch.types.directory import LatchDir as TheirDir
        ours, theirs = LatchFile("s3://bucket/a"), Theirs("s3://bucket/b")
        context = FlyteContextManager.current_context()
        expected = TypeEngine.to_literal_type(LatchFile)
        literal = TypeEngine.to_literal(context, ours, LatchFile, expected)
        print(json.dumps([isinstance(ours, Theirs), isinstance(theirs, LatchFile),
                          issubclass(Theirs, LatchFile), isinstance(ours, TheirDir),
                          isinstance(theirs, LatchDir), type(ours) is Theirs, literal.scalar.blob.uri]))
    """)
    assert json.loads(found) == [True, True, True, False, False, False, "s3://bucket/a"]


@pytest.mark.parametrize("with_latch", BOTH)
def test_the_registered_metadata(with_latch: bool):
    """`latch.types.metadata._nextflow_metadata` is what the file declared last."""
    assert python(with_latch, """
        import latch.types.metadata as m
        from latch.types.metadata import LatchAuthor, NextflowMetadata
        print(m._nextflow_metadata)
        NextflowMetadata("A name", LatchAuthor("A"))
        print(m._nextflow_metadata.display_name)
    """).splitlines() == ["None", "A name"]


def test_a_name_that_does_not_exist():
    """It fails at import, and says which."""
    assert "cannot import name 'tiny_task' from 'latch.resources.tasks'" in python(False, """
        try:
            from latch.resources.tasks import tiny_task
        except ImportError as e:
            print(e)
    """)
    assert "latch.nothing is not provided by nfresume, and not installed here" in python(False, """
        try:
            import latch.nothing
        except ModuleNotFoundError as e:
            print(e)
    """)


@pytest.mark.parametrize("name", [
    "pipeline_v1.2.py", "platform.py", "json.py", "my-flow.py", "wf/__init__.py"])
def test_names_of_files(site: Site, name: str):
    """A workflow's file may have any name. The id of an execution is made from it, or from the workflow."""
    script = site.launch_dir / name
    script.parent.mkdir(exist_ok=True)
    script.write_text(
        "import json, platform\nfrom dataclasses import dataclass\nfrom typing import List\n"
        "from latch import small_task, workflow\n"
        "@dataclass\nclass One:\n    n: int\n"
        "@small_task(cache=True)\ndef one(n: int) -> List[One]:\n    return [One(n)]\n"
        "@small_task\ndef text(one: List[One]) -> str:\n"
        "    import fractions\n"
        "    return f'{one[0].n} {fractions.Fraction(1, 2)} {len(platform.machine()) > 1}'\n"
        "@workflow\ndef main_flow(n: int = 1) -> str:\n    return text(one=one(n=n))\n")
    for _ in range(2):
        assert site.ok("launch", f"{name}:main_flow").out == '"1 1/2 True"\n'
    stem = {"pipeline_v1.2.py": "pipeline-v1-2-main-flow", "wf/__init__.py": "main-flow"}
    expected = stem.get(name, f"{name.removesuffix('.py')}-main-flow")
    assert site.show()["id"].rpartition("-")[0] == expected
    assert site.show()["attempts"][0]["tasks"]["cached"] == 1


@pytest.mark.long
@pytest.mark.parametrize("with_latch", BOTH)
def test_processes_that_a_task_starts(site: Site, with_latch: bool):
    """Python's multiprocessing may start new interpreters that import the workflow's file."""
    (site.launch_dir / "flow.py").write_text(
        "import multiprocessing\nfrom typing import List\nfrom latch import small_task, workflow\n"
        "from latch.types import LatchFile\n"
        "def twice(file: LatchFile) -> int:\n    return 2 * int(file.path)\n"
        "@small_task\ndef many(n: int) -> List[int]:\n"
        "    with multiprocessing.get_context('spawn').Pool(2) as pool:\n"
        "        return pool.map(twice, [LatchFile(str(i)) for i in range(n)])\n"
        "@workflow\ndef flow(n: int = 3) -> List[int]:\n    return many(n=n)\n")
    assert json.loads(run(site, with_latch, "launch", "flow.py:flow")) == [0, 2, 4]
