"""What a benchmark's figures depend on: the kind of the machine, and the versions of the peers."""

from __future__ import annotations

import os
import platform
import re
import shutil
import statistics
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path


def machine() -> str:
    """Its processors, memory, system and Python, in one line."""
    text = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.*)", text)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (f"{os.cpu_count()} x {model[1] if model else platform.machine()}, {memory:.0f} GiB, "
            f"Linux {platform.release()}, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}")


def versions(tools: Iterable[str]) -> str:
    """The first line of `--version` of each of the tools that is installed."""
    found = []
    for tool in tools:
        if shutil.which(tool):
            said = subprocess.run([tool, "--version"], capture_output=True, text=True)
            found.append((said.stdout or said.stderr).partition("\n")[0].strip())
    return "; ".join(found)


def spread(values: Sequence[float]) -> str:
    """Minimum, median and maximum, and how many values there are."""
    return f"{min(values):.2f} / {statistics.median(values):.2f} / {max(values):.2f} (of {len(values)})"
