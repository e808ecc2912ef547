"""`latch_metadata` files as users write them are loaded unmodified, in a child process with a timeout."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from pathlib import Path

import nfresume_metadata as ours
import pytest

from nfresume.domain.errors import InvalidMetadata, NotFound
from nfresume.pipelines.metadata import find, load

FIXTURES = Path(__file__).resolve().parents[3] / "nextflow-fixtures"
HEAD = """
from latch.types.metadata import NextflowMetadata, NextflowRuntimeResources, LatchAuthor
"""
TAIL = """
NextflowMetadata("A pipeline", LatchAuthor(),
    runtime_resources=NextflowRuntimeResources(storage_expiration_hours={hours}))
"""


def write(tmp_path: Path, text: str, **modules: str) -> Path:
    folder = tmp_path / "latch_metadata"
    folder.mkdir()
    (folder / "__init__.py").write_text(textwrap.dedent(text))
    for name, body in modules.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(body))
    return folder / "__init__.py"


def test_the_fixture_project():
    """The fixture has relative imports, enums, LatchFile defaults, and a constructor that must not run."""
    file = find(FIXTURES / "modules", None)
    assert file is not None
    loaded = load(file)
    assert loaded.storage_expiration_hours == 12
    assert (loaded.display_name, loaded.name) == ("Normalise", "nf_normalise")
    assert not [m for m in sys.modules if m.split(".")[0] in ("latch", "flytekit", "latch_metadata")]


@pytest.mark.parametrize(
    ("text", "hours"), [("7", 7.0), ("'7'", 7.0), ("0", 0.0), ("None", None), ("0.5", 0.5)]
)
def test_hours(tmp_path: Path, text: str, hours: float | None):
    """Hours are numbers or numeric strings. None means not declared."""
    assert load(write(tmp_path, HEAD + TAIL.format(hours=text))).storage_expiration_hours == hours


@pytest.mark.parametrize("text", ["-1", "'soon'", "float('nan')", "float('inf')", "[1]", "True"])
def test_bad_hours_name_file_and_field(tmp_path: Path, text: str):
    """The error is one line that names the file and the field."""
    file = write(tmp_path, HEAD + TAIL.format(hours=text))
    with pytest.raises(InvalidMetadata) as caught:
        load(file)
    assert str(file) in caught.value.message
    assert "NextflowRuntimeResources.storage_expiration_hours" in caught.value.message
    assert "\n" not in str(caught.value)


def test_not_declared_by_default():
    """The default is None where Latch's is 168: a work dir is kept only when somebody asks for it."""
    assert ours.NextflowRuntimeResources().storage_expiration_hours is None
    assert ours.NextflowRuntimeResources(4, 8, 100, 12).storage_expiration_hours == 12.0


def test_names_that_the_sdk_dropped(tmp_path: Path):
    """Files of 2024-01 load, with NextflowFileParameter and NextflowMetadata(output_directory=)."""
    file = write(tmp_path, """
        from pathlib import Path
        from latch.types.metadata import (NextflowFileParameter, NextflowMetadata, NextflowParameter,
            LatchAuthor)
        from latch.types.directory import LatchDir
        from latch.types import LatchFile
        NextflowMetadata(display_name="Old", author=LatchAuthor(name="x"),
            parameters={"a": NextflowFileParameter(type=LatchFile, path=Path("a.csv"), download=True),
                        "b": NextflowParameter(type=int, default=-3)},
            output_directory=LatchDir("latch:///x"))
    """)
    assert load(file).display_name == "Old"


def test_everything_of_the_surface(tmp_path: Path):
    """Snakemake classes, flows, rules, multi-selects, LPath and samplesheets with odd arguments load."""
    file = write(tmp_path, """
        import typing, typing_extensions
        from dataclasses import dataclass
        from enum import Enum
        from pathlib import Path
        from latch.types.metadata import *
        from latch.types.metadata import (EnvironmentConfig, Fork, ForkBranch, FlowBase, LatchAppearanceType,
            LatchMetadata, LatchParameter, LatchRule, Multiselect, MultiselectOption, Params, Section,
            SnakemakeFileMetadata, SnakemakeFileParameter, SnakemakeMetadata, SnakemakeParameter, Spoiler,
            Text, Title, NextflowMetadata, NextflowParameter, NextflowRuntimeResources, LatchAuthor)
        from latch.types.samplesheet_item import SamplesheetItem
        from latch.types.file import LatchFile, LatchOutputFile
        from latch.types.directory import LatchDir, LatchOutputDir
        from latch.ldata.path import LPath
        from flytekit.core.annotation import FlyteAnnotation
        import latch.types.metadata as m

        class E(Enum):
            a = 1

        @dataclass
        class Base:
            f: typing.Optional[LatchFile] = LatchFile("assets/x")

        @dataclass
        class Sub(Base):
            d: LatchDir = LatchDir("s3://bucket/x")
            e: E = E.a

        def constructor(samples, shared_dir):
            raise SystemExit(9)

        flow: typing.List[FlowBase] = [
            Section("S", Params("a", "b"), Spoiler("more", Text("t"), Title("T"))),
            Fork("fork", "Which", x=ForkBranch("X", Params("x")), y=ForkBranch("Y")),
        ]
        parameters = {
            "a": NextflowParameter(type=typing.List[Sub], samplesheet=True, samplesheet_type=constructor,
                samplesheet_constructor="csv"),
            "b": NextflowParameter[int](type=typing.Union[int, None], default=None,
                rules=[LatchRule(regex="x", message="y")], results_paths=[Path("a/b")],
                appearance_type=LatchAppearanceType.paragraph),
            "c": NextflowParameter(type=typing_extensions.Annotated[LatchDir, FlyteAnnotation({"x": {}})],
                appearance_type=Multiselect(options=[MultiselectOption("n", 1)], allow_custom=True)),
        }
        SnakemakeMetadata(display_name="s", author=LatchAuthor(), output_dir=LatchDir("latch:///x"),
            env_config=EnvironmentConfig(use_conda=True), parameters={"p": SnakemakeParameter(type=int),
            "f": SnakemakeFileParameter(type=LatchFile, path=Path("x"), config=True)},
            file_metadata={"f": SnakemakeFileMetadata(path=Path("x"))})
        assert m.NextflowMetadata is NextflowMetadata
        assert hash(LatchFile("x")) == hash(LatchFile("x")) and LPath("latch:///a").remote_path
        NextflowMetadata(display_name="My Pipe-Line", author=LatchAuthor(), name="9 Odd name",
            parameters=parameters, flow=None, execution_profiles=["docker"], log_dir=LatchDir("latch:///l"),
            about_page_path=Path("docs/about.md"),
            runtime_resources=NextflowRuntimeResources(cpus=None, memory="8", storage_expiration_hours=15))
    """)
    loaded = load(file)
    assert loaded.storage_expiration_hours == 15
    assert loaded.name == "9_Odd_name"


def test_the_last_one_counts(tmp_path: Path):
    """Of several NextflowMetadata in a file the last one is used, as in Latch's SDK."""
    file = write(tmp_path, HEAD + TAIL.format(hours=1) + TAIL.format(hours=2))
    assert load(file).storage_expiration_hours == 2


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("import sys; print('x' * 100000); sys.exit(3)", "exits the process (status 3)"),
        ("import os; os._exit(4)", "without an answer (exit status 4)"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "without an answer"),
        ("raise RuntimeError('boom\\nsecond line')", "line 1 of __init__.py: RuntimeError: boom second line"),
        ("def", "SyntaxError"),
        ("import latch.idl.admin", "latch.idl"),
        ("from latch.types.metadata import Unheard", "Unheard"),
    ],
)
def test_files_that_misbehave(tmp_path: Path, body: str, said: str):
    """A file that prints, exits, crashes or raises gives a one-line error, and does not end our process."""
    with pytest.raises(InvalidMetadata) as caught:
        load(write(tmp_path, body))
    assert said in caught.value.message


def test_a_file_that_hangs(tmp_path: Path):
    """A file that never ends is killed with its children."""
    body = "import subprocess, time\nsubprocess.Popen(['sleep', '987'])\ntime.sleep(987)"
    start = time.monotonic()
    with pytest.raises(InvalidMetadata, match="longer than 1 s"):
        load(write(tmp_path, body), timeout=1)
    assert time.monotonic() - start < 20
    assert subprocess.run(["pgrep", "-f", "sleep 987"], capture_output=True).returncode == 1


def test_what_we_do_not_provide_comes_from_the_installed_package(tmp_path: Path, monkeypatch):
    """Our modules are used even where `latch` is installed. Other names come from `latch` itself."""
    fake = tmp_path / "site" / "latch"
    (fake / "types").mkdir(parents=True)
    (fake / "__init__.py").write_text("pod_task = 'real task'\nsmall_task = 1\n")
    (fake / "types/__init__.py").write_text("from latch.types.metadata import NextflowMetadata\n")
    (fake / "types/metadata.py").write_text(
        "class NextflowMetadata:\n    def __init__(self, *a, **k): raise SystemExit('the real one')\n"
        "class OnlyThere(NextflowMetadata):\n    pass\n")
    (fake / "extra.py").write_text("from latch.types.metadata import OnlyThere\nvalue = OnlyThere\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    file = write(tmp_path, HEAD + """
from latch import pod_task, small_task
from latch.types.metadata import OnlyThere
from latch.extra import value
import latch.extra
assert pod_task == 'real task' and small_task != 1 and value is OnlyThere and latch.extra.value is value
assert not issubclass(OnlyThere, NextflowMetadata)
""" + TAIL.format(hours=3))
    assert load(file).storage_expiration_hours == 3


def test_nothing_stays_behind():
    """Afterwards sys.modules and sys.meta_path are as they were before."""
    from nfresume.tasks import standins

    before, path = dict(sys.modules), list(sys.meta_path)
    with standins.installed():
        import latch.types.metadata  # type: ignore[import-not-found]

        assert latch.types.metadata.NextflowMetadata is ours.NextflowMetadata
    assert not [m for m in sys.modules if m.split(".")[0] in ("latch", "flytekit")]
    assert sys.meta_path == path
    assert {m for m in before if m.split(".")[0] == "latch"} == set()


def test_where_it_is_looked_for(tmp_path: Path):
    """It is found beside the script, in the folder, or where --metadata says: a folder, package or file."""
    file = write(tmp_path, HEAD)
    script = tmp_path / "main.nf"
    script.touch()
    assert find(script, None) == file
    assert find(tmp_path, None) == file
    for explicit in (tmp_path, tmp_path / "latch_metadata", file):
        assert find(Path("/elsewhere"), explicit) == file
    assert find(Path("/elsewhere"), None) is None
    with pytest.raises(NotFound, match="--metadata"):
        find(script, tmp_path / "absent")
