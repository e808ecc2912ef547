"""The copy of Nextflow's log that a pipeline's NextflowMetadata asks for."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nfresume.domain.executions import Attempt, Execution, ExecutionState, TaskCounts
from nfresume.domain.workdirs import WorkDir, WorkDirState
from nfresume.runs import log_copies
from nfresume.storage.root import ExecutionFolder, Root
from tests import aws

NOW = datetime(2026, 11, 26, tzinfo=UTC)


def copy(base: Path, log_dir: str | None, *, metadata: bool = True) -> dict[str, str]:
    """Copy the log of an attempt whose pipeline has this `log_dir`."""
    file = base / "p/latch_metadata/__init__.py"
    file.parent.mkdir(parents=True, exist_ok=True)
    given = f", log_dir=LatchDir({log_dir!r})" if log_dir else ""
    file.write_text("from latch.types.metadata import LatchAuthor, NextflowMetadata\n"
                    "from latch.types.directory import LatchDir\n"
                    f"NextflowMetadata(display_name='X', author=LatchAuthor(name='x'){given})\n")
    folder = ExecutionFolder(Root.mark(base / "root"), "team", "x-4k9x2m")
    folder.begin_records(1, {"metadata": str(file) if metadata else None})
    (folder.attempt(1) / "nextflow.log").write_text("the log")
    return log_copies.copy(folder, *ended(base))


def ended(base: Path) -> tuple[Execution, Attempt]:
    failed = ExecutionState.FAILED
    return (Execution("x-4k9x2m", "team", "p", str(base), "r", "s", failed, 1, 0, "default", NOW, NOW,
                      WorkDir("/w", WorkDirState.RETAINED)),
            Attempt("x-4k9x2m", 1, "x-4k9x2m-1", failed, (), "p", None, None, TaskCounts()))


def test_no_log_dir(tmp_path: Path):
    """A pipeline without `log_dir`, or without metadata, gets no copy, and nothing is said."""
    assert copy(tmp_path, None) == {}
    assert copy(tmp_path, "logs", metadata=False) == {}


def test_s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """s3:// gets it by boto3; a bucket that is not there is told, and stops nothing."""
    with aws.aws() as env:
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        client = aws.client("s3", env)
        client.create_bucket(Bucket="logs", CreateBucketConfiguration={"LocationConstraint": aws.REGION})
        target = "s3://logs/a/nf_x/x-4k9x2m-1/nextflow.log"
        assert copy(tmp_path, "s3://logs/a/") == {"to": target}
        found = client.get_object(Bucket="logs", Key="a/nf_x/x-4k9x2m-1/nextflow.log")
        assert found["Body"].read() == b"the log"
        assert "NoSuchBucket" in copy(tmp_path, "s3://absent/a")["failed"]


def test_places_that_cannot_be_written(tmp_path: Path):
    """A local error is told, and stops nothing; gs:// is not supported, latch:// needs Latch."""
    (tmp_path / "file").touch()
    assert "NotADirectoryError" in copy(tmp_path, str(tmp_path / "file"))["failed"]
    assert "gs:// is not supported" in copy(tmp_path, "gs://bucket/x")["failed"]
    assert "latch:// needs Latch" in copy(tmp_path, "latch:///x")["failed"]


def test_metadata_that_broke_meanwhile(tmp_path: Path):
    """A file that cannot be loaded any more is told, too."""
    copy(tmp_path, "logs")
    assert (tmp_path / "logs/nf_x/x-4k9x2m-1/nextflow.log").read_text() == "the log"
    folder = ExecutionFolder(Root.open(tmp_path / "root"), "team", "x-4k9x2m")
    request = json.loads((folder.attempt(1) / "request.json").read_text())
    Path(request["metadata"]).write_text("def")
    assert "SyntaxError" in log_copies.copy(folder, *ended(tmp_path))["failed"]


def test_where_the_code_looks_for_it(tmp_path: Path):
    """Code that names `.nextflow.log` finds it in the launch dir: a link, then a copy; no other does."""
    folder = ExecutionFolder(Root.mark(tmp_path / "root"), "team", "x-4k9x2m")
    folder.begin_records(1, {})
    execution, attempt = ended(tmp_path)
    here, log, code = tmp_path / ".nextflow.log", folder.attempt(1) / "nextflow.log", tmp_path / "main.nf"
    log.write_text("the log")
    sources = folder.attempt(1) / "sources.json"
    code.write_text("workflow { }\n")
    sources.write_text(json.dumps({str(code): "digest"}))
    log_copies.show(folder.attempt(1), tmp_path, attempt)
    assert not here.is_symlink()
    code.write_text('workflow { file("${launchDir}/.nextflow.log") }\n')
    for number in range(3):
        here.with_name(f".nextflow.log.{number}" if number else here.name).write_text(f"old {number}")
    log_copies.show(folder.attempt(1), tmp_path, attempt)
    assert here.readlink() == log
    assert [Path(f"{here}.{n}").read_text() for n in (1, 2, 3)] == ["old 0", "old 1", "old 2"]
    log_copies.to_launch_dir(folder, execution, attempt)
    assert (here.is_symlink(), here.read_text()) == (False, "the log")
    here.unlink()
    sources.unlink()  # a pipeline that is pulled
    log_copies.show(folder.attempt(1), tmp_path, attempt)
    assert here.readlink() == log
