"""What an error of Nextflow says: the exception's own words, and what helps against it.

Its log names an error as `@unknown` when the exception is on the next line. A compile error names file and
cause in the lines that follow.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

_EXCEPTION = re.compile(r"(?:[a-z][\w$]*\.)+[A-Z][\w$]*(?::\s*(?P<words>.*))?")
_FILE = re.compile(r"- file ?: (?P<file>.+)")
_CAUSE = re.compile(r"- cause: (?P<cause>.*)")
_PLACE = re.compile(r" ?@ line (?P<line>\d+), column \d+\.")
#: The strict parser of 25.10 and later: `Error main.nf:6:3: Unexpected input`.
_STRICT = re.compile(r"Error (?P<file>\S+):(?P<line>\d+):\d+: (?P<cause>.+)")
_PLUGIN = re.compile(r"(?:Plugin with id|Unable to find plugin|Cannot find (?:latest )?version (?:for|of)) "
                     r"['`]?(?P<plugin>[\w.-]+(?:@[\w.-]+)?)")
#: What a newer Nextflow brought, how a script uses it, and the first version that has it.
_NEWER = (
    ("record types", re.compile(r"^\s*record\s+[A-Z]\w*\s*\{", re.MULTILINE), (26, 4)),
    ("a `params {}` block", re.compile(r"^\s*params\s*\{", re.MULTILINE), (25, 10)),
    ("an `output {}` block", re.compile(r"^\s*output\s*\{", re.MULTILINE), (25, 10)),
)


def words(lines: Sequence[str]) -> list[str]:
    """The lines of an error with the exception's own words first, and a compile error in one line.

    >>> words(["@unknown", "java.lang.IllegalStateException: no --input given"])
    ['no --input given']
    """
    said = [line.strip() for line in lines if line.strip()]
    if said and said[0] == "@unknown":
        said = said[1:]
        if said and (found := _EXCEPTION.fullmatch(said[0])):
            said[0] = found["words"] or said[0]
    if compiled := _compiled(said):
        return [compiled]
    return said


def _compiled(said: Sequence[str]) -> str | None:
    """`cannot compile FILE, line N: CAUSE: TEXT`; None for any other error."""
    for line in said[:12]:
        if found := _STRICT.fullmatch(line):
            return f"cannot compile {found['file']}, line {found['line']}: {found['cause']}"
    file = next((found["file"] for line in said if (found := _FILE.fullmatch(line))), None)
    if file is None:
        return None
    cause, line_number, text = "", "", ""
    for at, line in enumerate(said):
        if found := _CAUSE.fullmatch(line):
            cause = found["cause"]
        if place := _PLACE.search(line):
            line_number = f", line {place['line']}"
            cause = _PLACE.sub("", cause)
            text = said[at + 1] if at + 1 < len(said) else ""
            break
    return f"cannot compile {file}{line_number}: {cause}" + (f": {text}" if text and text != "^" else "")


def helps(lines: Sequence[str], version: str | None, launch_dir: Path) -> str | None:
    """What helps against an error, in one clause; None when nothing is known.

    `version` is the Nextflow that ran, `launch_dir` the folder to which the names of scripts are relative.
    """
    said = [line.strip() for line in lines if line.strip()]
    for line in words(said)[:1]:
        if found := _PLUGIN.match(line):
            return (f"the plugin {found['plugin']} is not in NXF_PLUGINS_DIR, and cannot be downloaded: put "
                    "it there, or connect to the network once")
    compiled = _compiled(said)
    if compiled is None or version is None:
        return None
    name = compiled.removeprefix("cannot compile ").partition(", line ")[0].partition(": ")[0]
    try:
        script = (launch_dir / name).read_text(errors="replace")
    except OSError:
        return None
    now = tuple(int(number) for number in version.split(".")[:2])
    for what, pattern, first in _NEWER:
        if now < first and pattern.search(script):
            needed = f"{first[0]}.{first[1]:02d}"
            return (f"{what} needs Nextflow {needed} or newer, this is {version}: "
                    f"NXF_VER={needed}.0 chooses it; pip install 'nfresume[nextflow]' brings its launcher")
    return None
