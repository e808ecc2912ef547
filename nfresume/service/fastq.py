"""FASTQ files: a quality may be any text, so by chance it looks like paths, and names none."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import BinaryIO

_READ = re.compile(rb"[A-Za-z0-9.*-]*")


def without_qualities(file: Path) -> BinaryIO:
    """A file, opened; of a FASTQ file only the titles.

    A record has four lines, and its quality is as long as its read: doi.org/10.1093/nar/gkp1137. A file with
    any other line is no FASTQ file. Raises OSError.
    """
    titles = io.BytesIO()
    with file.open("rb") as lines:
        while title := lines.readline():
            if title.isspace():
                continue
            read, plus, quality = (lines.readline().rstrip(b"\r\n") for _ in range(3))
            if not (title.startswith(b"@") and plus.startswith(b"+") and _READ.fullmatch(read)
                    and len(quality) == len(read)):
                return file.open("rb")
            titles.write(title + plus + b"\n")
    titles.seek(0)
    return titles
