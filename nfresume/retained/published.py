"""What an attempt published, as far as its records tell."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nfresume.nextflow import log as nextflow_log
from nfresume.nextflow.command import LOG
from nfresume.storage.publish import Target
from nfresume.storage.root import ExecutionFolder


@dataclass(frozen=True)
class Published:
    """`targets` of publishDir, on file systems only. `folders` hold other outputs: storeDirs.

    `doubts` say what cannot be known, one line each: then the work dir must be kept. `succeeded`: the attempt
    ended well by its own records, so it published again whatever earlier ones had published.
    """

    targets: Iterable[Target]
    folders: tuple[str, ...]
    doubts: tuple[str, ...]
    succeeded: bool


def of_attempt(folder: ExecutionFolder, number: int) -> Published:
    """What attempt `number` published."""
    path = folder.attempt(number) / LOG
    log = nextflow_log.read(path)
    doubts = [f"{name}: its path cannot be read from the log" for name in log.unreadable]
    gaps = nextflow_log.has_gaps(path)
    if gaps:
        doubts.append(f"{path}: lines of this log are missing (was its disk full?)")
    return Published(
        [Target(target) for target in log.published if "://" not in target], (), tuple(doubts),
        log.whole and not log.error and not gaps,
    )
