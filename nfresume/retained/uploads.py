"""What Nextflow leaves out of results on S3, although it succeeds: then the work dir is all that has it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from nfresume.nextflow import reading, record
from nfresume.nextflow.command import LOG
from nfresume.system import regular, trees

#: The first and the last version that publishes a folder to S3 without the links in it: nextflow#7509.
_BROKEN = (25, 10, 0), (26, 4, 6)
_VERSION = re.compile(rb"N E X T F L O W +~ +version (\d+\.\d+\.\d+)")
#: The mode of who wants it so.
_NO_FOLLOW = "COPY_NO_FOLLOW"
#: The version is in one of the first lines of the log.
_HEAD = 1 << 16


def left_out(attempt_dir: Path) -> str | None:
    """Why what an attempt published to S3 is not whole; None: nothing is known to be missing."""
    version = _version(attempt_dir)
    if not _BROKEN[0] <= tuple(map(int, version.split("."))) <= _BROKEN[1]:
        return None
    for line in reading.lines(attempt_dir, kinds=(record.Published,)):
        if isinstance(line, record.Published) and line.target.startswith("s3://") and (
                line.mode != _NO_FOLLOW) and (link := _link_in(line.source)):
            why = f"Nextflow {version} leaves out links in what it publishes to S3"
            return f"{line.target} lacks {link}: {why}"
    return None


def _link_in(folder: str) -> str | None:
    """The first link in a folder, or what cannot be looked at; None: there is none."""
    try:
        for above, folders, names in trees.walk(folder):
            for path in (os.path.join(above, name) for name in (*folders, *names)):
                if os.path.islink(path):
                    return path
    except OSError as e:
        return str(e.filename)
    return None


def _version(attempt_dir: Path) -> str:
    """The version of Nextflow, without what follows its three numbers; 0 when the log does not say."""
    try:
        with open(attempt_dir / LOG, "rb", opener=regular.opener) as log:
            found = _VERSION.search(log.read(_HEAD))
    except (FileNotFoundError, ValueError):
        found = None
    return found[1].decode() if found else "0"
