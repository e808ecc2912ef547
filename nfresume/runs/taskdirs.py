"""What is wrong with the task dir of a finished task, so that Nextflow does not reuse it."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path

from nfresume.nextflow import wrapper
from nfresume.nextflow.causes import Cause
from nfresume.system import regular


def none_in(work: Path) -> bool:
    """True when the work dir can be read and has no task dir, so that no task has run."""
    try:
        return not any(re.fullmatch("[0-9a-f]{2}", name) for name in os.listdir(work))
    except OSError:
        return False


def problem(place: Path, *, native: bool) -> str | None:
    """A clause that says what is wrong; None when nothing is. `native`: the task had no script."""
    if not place.is_dir():
        return "its task dir is gone"
    found = (None if native else exit_status(place)) or missing_output(place, declared(place))
    return found.text if found is not None else None


def exit_status(place: Path) -> Cause | None:
    """The exit status that was left is not 0, or there is none."""
    try:
        text = regular.text(place / ".exitcode").strip()
    except OSError:
        text = ""
    if text == "0":
        return None
    return Cause("exit_status", "its exit status was lost (.exitcode)" if not text
                 else f"its exit status was {text[:20]}")


def declared(place: Path) -> tuple[str, ...]:
    """The patterns of the outputs that its wrapper names; none when there is no wrapper."""
    try:
        return wrapper.parse(regular.text(place / wrapper.RUN), str(place)).declared
    except OSError:
        return ()


def missing_output(place: Path, patterns: tuple[str, ...]) -> Cause | None:
    """A declared output of which nothing is there. Only plain patterns are looked at."""
    for pattern in patterns:
        plain = pattern not in ("-", "") and not pattern.startswith("/") and not set(pattern) & set("{}\\$")
        if plain and not any(glob.iglob(pattern, root_dir=os.fspath(place), recursive=True,
                                        include_hidden=True)):
            return Cause("output_missing", f"its output {pattern} is not in its task dir any more")
    return None
