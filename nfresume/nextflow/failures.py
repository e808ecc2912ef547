"""What a compile error of Nextflow says, which names file and cause in lines that follow; what helps."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from nfresume.system import regular

#: All that the strict parser says in the log, but for names of classes.
NOT_COMPILED = "Script compilation failed"
_FILE = re.compile(r"- file ?: (?P<file>.+)")
_CAUSE = re.compile(r"- cause: (?P<cause>.*)")
_PLACE = re.compile(r" ?@ line (?P<line>\d+), column \d+\.")
#: The strict parser of 25.10 and later: `Error main.nf:6:3: Unexpected input`.
_STRICT = re.compile(r"Error (?P<file>\S+):(?P<line>\d+):\d+: (?P<cause>.+)")
#: Groovy's own, as 25.02 and later give it: `/p/main.nf: 6: Unexpected input @ line 6, column 3.`
_GROOVY = re.compile(r"(?P<file>/.+?): (?P<line>\d+): (?P<cause>.+?)(?: ?@ line \d+, column \d+\.)?")
_PLUGIN = re.compile(r"(?:Plugin with id|Unable to find plugin|Cannot find (?:latest )?version (?:for|of)) "
                     r"['`]?(?P<plugin>[\w.-]+(?:@[\w.-]+)?)")
#: What a newer Nextflow brought, how a script uses it, and the first version that has it.
_NEWER = (
    ("record types", re.compile(r"^\s*record\s+[A-Z]\w*\s*\{", re.MULTILINE), (26, 4)),
    ("a `params {}` block", re.compile(r"^\s*params\s*\{", re.MULTILINE), (25, 10)),
    ("an `output {}` block", re.compile(r"^\s*output\s*\{", re.MULTILINE), (25, 10)),
)


def compiled(lines: Sequence[str]) -> str | None:
    """`cannot compile FILE, line N: CAUSE: TEXT`; None for any other error.

    `lines` are those of the message and of the exceptions behind it, without stack traces.
    """
    said = [line.strip() for line in lines if line.strip()]
    for at, line in enumerate(said[:12]):
        if found := _STRICT.fullmatch(line) or _GROOVY.fullmatch(line):
            text = said[at + 1] if found.re is _GROOVY and at + 1 < len(said) else ""
            return _cannot_compile(found["file"], found["line"], found["cause"], text)
    file = next((found["file"] for line in said if (found := _FILE.fullmatch(line))), None)
    if file is None:
        return None
    cause = next((found["cause"] for line in said if (found := _CAUSE.fullmatch(line))), "")
    for at, line in enumerate(said):
        if place := _PLACE.search(line):
            text = said[at + 1] if at + 1 < len(said) else ""
            return _cannot_compile(file, place["line"], _PLACE.sub("", cause), text)
    return _cannot_compile(file, "", cause, "")


def _cannot_compile(file: str, line: str, cause: str, text: str) -> str:
    where = f"{file}, line {line}" if line else file
    return f"cannot compile {where}: {cause}" + (f": {text}" if text.strip("^ ") else "")


def helps(error: str, version: str | None, launch_dir: Path) -> str | None:
    """What helps against an error (in one line), in one clause; None when nothing is known.

    `version` is the Nextflow that ran, `launch_dir` the folder to which the names of scripts are relative.
    """
    if found := _PLUGIN.match(error):
        return (f"the plugin {found['plugin']} is not in NXF_PLUGINS_DIR, and cannot be downloaded: put "
                "it there, or connect to the network once")
    if not error.startswith("cannot compile ") or version is None:
        return None
    name = error.removeprefix("cannot compile ").partition(", line ")[0].partition(": ")[0]
    try:
        script = regular.text(launch_dir / name)
    except OSError:
        return None
    now = tuple(int(number) for number in version.split(".")[:2])
    for what, pattern, first in _NEWER:
        if now < first and pattern.search(script):
            needed = f"{first[0]}.{first[1]:02d}"
            return (f"{what} needs Nextflow {needed} or newer, this is {version}: "
                    f"NXF_VER={needed}.0 chooses it; pip install 'nfresume[nextflow]' brings its launcher")
    return None
