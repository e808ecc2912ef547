"""Read what is recorded of an attempt: its record, or its log if there is no record.

Attempts of earlier versions have none, and a full disk leaves one unfinished.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Iterator
from pathlib import Path

from nfresume.nextflow import record, record_file
from nfresume.nextflow.command import LOG
from nfresume.nextflow.log import LogReader
from nfresume.nextflow.stamps import started_at
from nfresume.nextflow.tracking import Tracker

_CHUNK = 1 << 20


def lines(
    attempt_dir: Path, *, ended: bool = True, kinds: Collection[type[record.Line]] | None = None
) -> Iterator[record.Line]:
    """The lines of an attempt. `ended`: it has ended, so an unfinished record does not say all.

    Then the lines are made from the log instead. They lack inputs and evidence. `kinds`: only these kinds of
    lines are wanted; a log may give others, too.
    """
    path = newest(attempt_dir, ended=ended)
    return record_file.lines(path, kinds) if path is not None else of_log(attempt_dir, ended=ended)


def newest(attempt_dir: Path, *, ended: bool = True) -> Path | None:
    """The record that counts; None: the log has to be read. See `lines`."""
    found = record_file.paths(attempt_dir)
    if not found:
        return None
    if ended and record_file.end_of(found[-1]) is None and (attempt_dir / LOG).exists():
        return None
    return found[-1]


def source(attempt_dir: Path) -> Path:
    """The file from which `lines` reads an attempt that has ended."""
    return newest(attempt_dir) or attempt_dir / LOG


def of_log(attempt_dir: Path, *, ended: bool = True) -> Iterator[record.Line]:
    """The lines that the log alone gives. `ended`: what still runs in it was aborted."""
    made: deque[record.Line] = deque()
    tracker = Tracker(made.append)
    reader = LogReader(attempt_dir / LOG, tracker.takers, lambda: started_at(attempt_dir))
    work = attempt_dir.parent.parent / "work"
    yield record.Header(work=str(work))
    while reader.poll(_CHUNK):
        while made:
            yield made.popleft()
    reader.close()
    if ended:
        tracker.close()
        made += [record.Doubt(text, damage=True) for text in reader.damage]
        made.append(record.End(int(time.time() * 1000)))
    yield from made
