"""Results on S3 that some versions of Nextflow leave incomplete hold the work dir."""

from __future__ import annotations

from pathlib import Path

import pytest

from nfresume.nextflow import record, record_file
from nfresume.nextflow.command import LOG
from nfresume.retained import published
from nfresume.storage import Root
from nfresume.storage.root import ExecutionFolder

SAID = "Nov-27 15:26:49.899 [main] INFO  nextflow.cli.CmdRun - N E X T F L O W  ~  version {}\n"


class Run:
    """One attempt that has published a folder."""

    def __init__(self, base: Path) -> None:
        self.folder: ExecutionFolder = Root.mark(base / "root").execution("team", "x-1")
        self.folder.provision(1)
        self.out = self.folder.work / "ab/c/out"
        (self.out / "deep").mkdir(parents=True)
        (self.out / "deep/plain.txt").write_text("x")

    def doubts(self, version: str, target: str = "s3://bucket/out", mode: str = "COPY") -> tuple[str, ...]:
        attempt = self.folder.attempt(1)
        (attempt / LOG).write_text(SAID.format(version))
        path = record_file.path_of(attempt, 1)
        path.unlink(missing_ok=True)
        writer = record_file.Writer(path)
        writer.write(record.Header(work=str(self.folder.work)))
        writer.write(record.Published(target, str(self.out), mode))
        writer.close(record.End(0))
        return published.of_attempt(self.folder, 1).doubts


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


@pytest.mark.parametrize("version", ["25.10.0", "25.12.0-edge", "26.04.6"])
def test_links_that_were_left_out(run: Run, version: str):
    """Staged inputs are links: a folder of them is published to S3 without their content (nextflow#7509)."""
    assert run.doubts(version) == ()
    (run.out / "deep/reads.fq").symlink_to("/data/reads.fq")
    (found,) = run.doubts(version)
    assert found == (f"s3://bucket/out lacks {run.out}/deep/reads.fq: Nextflow {version.partition('-')[0]} "
                     "leaves out links in what it publishes to S3")


@pytest.mark.parametrize(("version", "target", "mode"), [
    ("24.10.5", "s3://bucket/out", "COPY"), ("25.9.9", "s3://bucket/out", "COPY"),
    ("26.04.7", "s3://bucket/out", "COPY"), ("26.10.0", "s3://bucket/out", "COPY"),
    ("25.10.2", "/results/out", "COPY"), ("25.10.2", "gs://bucket/out", "COPY"),
    ("25.10.2", "s3://bucket/out", "COPY_NO_FOLLOW"), ("unknown", "s3://bucket/out", "COPY"),
])
def test_links_that_were_not(run: Run, version: str, target: str, mode: str):
    """Other versions follow links, other places get them, and some people want none."""
    (run.out / "reads.fq").symlink_to("/data/reads.fq")
    assert run.doubts(version, target, mode) == ()
