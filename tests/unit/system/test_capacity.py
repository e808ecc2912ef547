"""What a process may use of its machine, as control groups of both versions say it."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from nfresume.system import capacity

MACHINE = float(len(os.sched_getaffinity(0))), psutil.virtual_memory().total


@pytest.mark.parametrize(("own", "files", "expected"), [
    ("0::/a/b\n", {}, MACHINE),
    ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/b/memory.max": "max\n"}, MACHINE),
    ("0::/a/b\n", {"a/b/cpu.max": "50000 100000\n", "a/memory.max": "1000\n", "a/b/memory.max": "2000\n"},
     (1.0, 1000)),
    ("0::/../c\n", {"cpu.max": "100000 100000\n", "memory.max": "3000\n"}, (1.0, 3000)),
    ("4:cpu,cpuacct:/a\n7:memory:/a\n0::/\n", {
        "cpu/a/cpu.cfs_quota_us": "100000\n", "cpu/a/cpu.cfs_period_us": "100000\n",
        "memory/a/memory.limit_in_bytes": "4000\n"}, (1.0, 4000)),
    # In a container of version 1 the path is the host's, and the group is mounted in the place of the top.
    ("4:cpu:/docker/f\n7:memory:/docker/f\n", {
        "cpu/cpu.cfs_quota_us": "150000\n", "cpu/cpu.cfs_period_us": "200000\n",
        "memory/memory.limit_in_bytes": "5000\n"}, (1.0, 5000)),
    ("4:cpu:/\n7:memory:/\n", {
        "cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n",
        "memory/memory.limit_in_bytes": f"{2**63 - 4096}\n"}, MACHINE),
])
def test_limits_of_control_groups(tmp_path: Path, own: str, files: dict[str, str], expected: object):
    """The smallest limit of all groups around a process holds; where there is none, the machine's."""
    groups = tmp_path / "cgroup"
    for name, text in files.items():
        (groups / name).parent.mkdir(parents=True, exist_ok=True)
        (groups / name).write_text(text)
    (tmp_path / "own").write_text(own)
    found = capacity.cpus(groups, tmp_path / "own"), capacity.memory(groups, tmp_path / "own")
    assert found == expected
