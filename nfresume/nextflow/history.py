"""Nextflow's history file: the status of a run, and whether its session can be resumed."""

from __future__ import annotations

from pathlib import Path

from nfresume.nextflow import cache_db
from nfresume.system import regular


def status(cache_dir: Path, run_name: str) -> str | None:
    """The status of a run: `OK`, `ERR`, or `-` (the run did not end); None when it is not in the history.

    Columns: time, duration, run name, status, revision, session, command, tab separated.
    """
    try:
        lines = regular.text(cache_dir / "history").splitlines()
    except (FileNotFoundError, ValueError):
        return None
    for line in reversed(lines):
        columns = line.split("\t")
        if len(columns) > 3 and columns[2] == run_name:
            return columns[3]
    return None


def resumable(cache_dir: Path, session_id: str) -> str | None:
    """Why `-resume SESSION` would rerun everything or fail; None when it can work."""
    try:
        if not cache_db.folder(cache_dir, session_id).is_dir():
            return "its cache database is gone"
        if session_id not in regular.text(cache_dir / "history"):
            return "its session is not in the history file"
    except FileNotFoundError:
        return "its history file is gone"
    except OSError as e:
        return f"its cache cannot be read: {e.strerror}"
    return None
