"""What a pipeline may have replaced is read without waiting, and without filling the memory."""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nfresume.domain.errors import NfresumeError
from nfresume.nextflow import (
    assets,
    cache_db,
    evidence,
    history,
    kept_inputs,
    processes,
    reading,
    record_file,
    sources,
    stamps,
    trace,
)
from nfresume.nextflow.record import Task
from nfresume.pipelines import parameters
from nfresume.runs import explaining, lean_needs, taskdirs, verdict
from nfresume.storage import emptying, sizes
from nfresume.system import bounded, regular
from tests.conftest import PROJECT

#: The file of each reader in the folder `e` of an execution.
READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "record": ("1/record-1.jsonl", lambda e: list(reading.lines(e / "1"))),
    "end of a record": ("1/record-1.jsonl", lambda e: record_file.end_of(e / "1/record-1.jsonl")),
    "sums of a record": ("1/record-1.jsonl", lambda e: record_file.sums_of(e / "1/record-1.jsonl")),
    "log": ("1/nextflow.log", lambda e: list(reading.of_log(e / "1"))),
    "commit": ("1/nextflow.log", lambda e: assets.commit_of(e / "1/nextflow.log")),
    "archive": ("1/tasks-1.tar.gz",
                lambda e: evidence.unpack(e / "1", ("tasks-1.tar.gz", 0, 9), ".exitcode")),
    "list of inputs": ("1/inputs/inputs.json", lambda e: kept_inputs.read(e / "1")),
    "start": ("1/head.json", lambda e: stamps.started_at(e / "1")),
    "head": ("1/head.json", lambda e: processes.read(e / "1")),
    "exit status": ("1/exit_status.json", lambda e: verdict.exit_code(e / "1")),
    "sources": ("1/sources.json", lambda e: sources.kept(e / "1")),
    "explanation": ("1/explanation.json", lambda e: explaining.kept(e / "1")),
    "needs": (f"1/{lean_needs.FILE}", lambda e: lean_needs.load(e / "1")),
    "trace": ("1/trace.tsv", lambda e: list(trace.rows(e / "1/trace.tsv"))),
    "history": ("cache/history", lambda e: history.status(e / "cache", "run-1")),
    "cache": ("cache/cache/s/db/CURRENT", lambda e: cache_db.task_dirs(e / "cache", "s")),
    "sizes": (f"cache/{sizes.NAME}", lambda e: sizes.load(e / "cache")),
    "manifest": (f"cache/{emptying.MANIFEST}", lambda e: emptying.load(e / "cache")),
    "exit code of a task": ("ab/.exitcode", lambda e: taskdirs.exit_status(e / "ab")),
    "wrapper of a task": ("ab/.command.run", lambda e: taskdirs.declared(e / "ab")),
    "script": ("main.nf", lambda e: parameters.declared(e)),
    "metadata": ("latch_metadata/__init__.py", lambda e: parameters.declared(e)),
}
#: Where files are read that no pipeline can replace while somebody reads them.
OURS = {"engine.py", "embedded.py", "inputs.py"}


def made(path: Path, kind: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "number":
        path.write_text("0")
    else:
        path.symlink_to({"device": "/dev/zero", "circle": path.name}[kind])


@pytest.mark.parametrize("kind", ["fifo", "device"])
@pytest.mark.parametrize("reader", READERS)
def test_no_reader_waits(tmp_path: Path, reader: str, kind: str):
    """Neither for whoever writes to a FIFO, nor for the end of a device: it is not there, or an error."""
    name, read = READERS[reader]
    made(tmp_path / name, kind)
    try:
        bounded.call(5, lambda: read(tmp_path))
    except TimeoutError:
        pytest.fail(f"the {reader} is waited for")
    except (NfresumeError, OSError, LookupError, cache_db.Unreadable):
        pass


@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "circle", "number"])
def test_a_task_replaces_records_of_its_run(tmp_path: Path, kind: str):
    """What a task has put in their place is damage: the end of the run does not wait for something else."""
    for reader in ("head", "exit status", "history", "commit"):
        name, read = READERS[reader]
        made(tmp_path / name, kind)
        assert read(tmp_path) is None, reader
    assert not [line for line in READERS["log"][1](tmp_path) if isinstance(line, Task)]
    assert verdict._tail(tmp_path / "1/nextflow.log") == (["0"] if kind == "number" else [])
    for reader in ("list of inputs", "needs"):
        name, read = READERS[reader]
        made(tmp_path / name, kind)
        with pytest.raises((NfresumeError, ValueError)):
            read(tmp_path)


def test_no_writer_waits(tmp_path: Path):
    """A record or an archive in whose place a task has put a FIFO is not written, and nobody waits for it."""
    os.mkfifo(tmp_path / "record-2.jsonl")
    os.mkfifo(tmp_path / "tasks-2.tar.gz")

    def write() -> list[object]:
        archive = evidence.Archive(tmp_path, 2)
        return [record_file.Writer(tmp_path / "record-2.jsonl").broken, archive.add(b"x")]

    try:
        assert bounded.call(5, write) == [True, None]
    except TimeoutError:
        pytest.fail("a FIFO is waited for")


def test_what_is_read(tmp_path: Path):
    """A regular file, also behind a link; no more than its limit, and JSON only as deep as Python can go."""
    file, link = tmp_path / "a.json", tmp_path / "link"
    file.write_text('{"a": 1}')
    link.symlink_to(file)
    assert regular.document(link) == {"a": 1}
    assert regular.text(file) == '{"a": 1}'
    with pytest.raises(OSError, match="larger than 3 bytes"):
        regular.content(file, 3)
    file.write_text("[" * 100_000)
    with pytest.raises(ValueError, match="nested too deeply"):
        regular.document(file)
    with pytest.raises(IsADirectoryError):
        regular.content(tmp_path)
    with pytest.raises(OSError, match="not a regular file"):
        regular.content(Path("/dev/null"))
    with pytest.raises(OSError, match="unpacks to more than 1,000 bytes"):
        regular.unpacked(gzip.compress(bytes(1001)), 1000)


def test_a_record_without_line_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Reading ends at a line that is longer than any of ours, and the lines before it count."""
    monkeypatch.setattr(record_file, "_LONGEST", 1 << 22)
    file = tmp_path / "record-1.jsonl"
    file.write_text(json.dumps(["header", 1]) + "\n")
    with file.open("r+b") as opened:
        opened.truncate(1 << 40)
    reader = record_file.Reader(file)
    assert [data for _, data in bounded.call(60, lambda: list(reader.raw()))] == [b'["header", 1]']
    reader.close()


def test_nobody_reads_in_another_way():
    """What a pipeline may replace is read by `system.regular` only."""
    other = re.compile(r"\.read_(?:bytes|text)\(|\.open\((?:\"rb?\"|errors|newline|\))")
    found = {f"{path.parent.name}/{path.name}": line.strip()
             for room in ("nextflow", "retained", "runs", "storage", "pipelines")
             for path in sorted((PROJECT / "nfresume" / room).glob("*.py")) if path.name not in OURS
             for line in path.read_text().splitlines() if other.search(line)}
    assert found == {}
