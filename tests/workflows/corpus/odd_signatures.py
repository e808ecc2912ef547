# result: ["13", "123t5", "7", "é \udcff", "True"]
"""Parameters that are only positional or named like nfresume's own, partials, odd names of files."""

import os
import sys
from functools import partial
from pathlib import Path
from typing import List

from latch.types import LatchFile

from nfresume.tasks import task, workflow

NAMES = ["é", os.fsdecode(b"\xff")]


@task
def positional(n: int, /, m: int = 2, *, k: int = 3) -> str:
    return str(n + m + k)


@task
def named(given: int, lists: int, self: int, args: str, größe: int) -> str:
    return f"{given}{lists}{self}{args}{größe}"


def _added(n: int, m: int) -> str:
    return str(n + m)


partially = task(partial(_added, m=5))


@task
def files() -> List[LatchFile]:
    for name in NAMES:
        Path(name).write_text(name, errors="surrogateescape")
    return [LatchFile(name) for name in NAMES]


@task
def names(files: List[LatchFile]) -> str:
    return " ".join(os.path.basename(file.local_path) for file in files)


@task
def closes() -> list:
    print("before")
    sys.stdout.close()
    sys.stderr = None
    os.close(0)
    return [Ellipsis, NotImplemented]


@task
def shown(values: list) -> str:
    return str(values == [Ellipsis, NotImplemented])


@workflow
def flow(given: int = 1) -> List[str]:
    return [positional(1, 5, k=7), named(given=given, lists=2, self=3, args="t", größe=5), partially(n=2),
            names(files=files()), shown(values=closes())]
