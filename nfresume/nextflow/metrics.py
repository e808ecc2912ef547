"""What a task used, from the `.command.trace` that Nextflow's wrapper writes where a trace is switched on.

The format is that of `nextflow.trace.TraceRecord` (23.10 to 26.04): lines `name=value`. Shares of CPU are in
tenths of a percent, sizes of memory in KiB, I/O in bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

FILE = ".command.trace"


@dataclass(frozen=True)
class Metrics:
    """`cpu` in percent of one CPU; the largest memory and I/O in bytes. None: not known."""

    cpu: float | None = None
    peak_rss: int | None = None
    read: int | None = None
    written: int | None = None

    @property
    def known(self) -> bool:
        return self != Metrics()


def parse(text: str) -> Metrics:
    """The metrics of a trace file; what is not a number is not known. Tasks can write into this file."""
    found: dict[str, int] = {}
    for line in text.splitlines()[:50]:
        name, _, value = line.partition("=")
        if value.isascii() and value.isdecimal() and len(value) < 19:
            found[name] = int(value)

    cpu, memory = found.get("%cpu"), found.get("peak_rss")
    return Metrics(
        cpu / 10 if cpu is not None else None, memory * 1024 if memory is not None else None,
        found.get("rchar"), found.get("wchar"))
