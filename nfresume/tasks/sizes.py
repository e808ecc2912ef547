"""The resources of tasks: the sizes of Latch's decorators, and the limits of its custom tasks.

Source of the numbers: the resource requests of `latch` 2.77.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Resources:
    """CPUs, memory and disk in GiB, and GPUs of one task.

    On this machine CPUs, memory and GPUs limit how many tasks run at once. A Slurm job requests them. Disk is
    not used.
    """

    cpu: float
    memory: float
    storage: float = 0
    gpu: int = 0


#: The sizes by the decorator's name without `_task`.
SIZES = {
    "small": Resources(2, 4, 100),
    "medium": Resources(30, 100, 1500),
    "large": Resources(90, 170, 4500),
    "small_gpu": Resources(7, 30, 1500, 1),
    "large_gpu": Resources(63, 245, 4500, 1),
    "v100_x1": Resources(7, 48, 4500, 1),
    "v100_x4": Resources(30, 230, 4500, 4),
    "v100_x8": Resources(62, 400, 4500, 8),
}
#: g6e instances: number of GPUs by size. The size counts xlarge units of 4 CPUs and 32 GiB.
_G6E = {1: 1, 2: 1, 4: 1, 8: 1, 12: 4, 16: 1, 24: 4, 48: 8}
SIZES.update({
    f"g6e_{'' if units == 1 else units}xlarge":
        Resources(4 * units - 2, min(32 * units - 4, int(0.9 * 32 * units)), 4500, gpus)
    for units, gpus in _G6E.items()
})
#: The most that a custom task may request, for each of Latch's machine pools.
_POOLS = (Resources(30, 120, 2000), Resources(94, 176, 4949), Resources(62, 485, 4949),
          Resources(126, 975, 4949))


def custom(cpu: float, memory: float, storage: float) -> Resources:
    """The resources of a custom task; memory and storage are in GiB.

    Raises ValueError for negative values, and for more than any machine of the pools has.
    """
    if cpu <= 0 or memory <= 0 or storage < 0:
        raise ValueError(f"custom_task(cpu={cpu}, memory={memory}, storage_gib={storage}): must be positive")
    if not any(cpu <= p.cpu and memory <= p.memory and storage <= p.storage for p in _POOLS):
        raise ValueError(f"custom_task(cpu={cpu}, memory={memory}, storage_gib={storage}): no machine is so "
                         "large; the largest have 126 CPUs, 975 GiB of memory and 4949 GiB of disk")
    return Resources(cpu, memory, storage)
