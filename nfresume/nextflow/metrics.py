"""What a task used, from the `.command.trace` that Nextflow's wrapper writes where a trace is switched on.

The format is that of `nextflow.trace.TraceRecord` (23.10 to 26.04): lines `name=value`. Shares of CPU and
memory are in tenths of a percent, sizes of memory in KiB, I/O in bytes, times in milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass

FILE = ".command.trace"


@dataclass(frozen=True)
class Metrics:
    """`cpu` in percent of one CPU; `peak_rss` and I/O in bytes; `realtime` in ms. None: not known."""

    cpu: float | None = None
    memory_share: float | None = None
    peak_rss: int | None = None
    peak_vmem: int | None = None
    read: int | None = None
    written: int | None = None
    read_disk: int | None = None
    written_disk: int | None = None
    realtime: int | None = None

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

    def scaled(name: str) -> float | None:
        return found[name] / 10 if name in found else None

    def kib(name: str) -> int | None:
        return found[name] * 1024 if name in found else None

    return Metrics(
        scaled("%cpu"), scaled("%mem"), kib("peak_rss"), kib("peak_vmem"), found.get("rchar"),
        found.get("wchar"), found.get("read_bytes"), found.get("write_bytes"), found.get("realtime"))
