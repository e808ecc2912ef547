"""Tasks that fail in many ways, and return what is no plain value."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from latch import small_task, workflow
from latch.types import LatchFile


def problem(how: str) -> Any:
    if how == "many lines":
        raise ValueError("the first line\n  the second line")
    if how == "group":
        raise ExceptionGroup("two samples failed", [ValueError("a"), KeyError("b")])
    if how == "gone":
        os._exit(0)
    if how == "exit":
        sys.exit("no reads\nare left")
    if how == "stream":
        return iter([])
    return {"map": map(str, [1, 2]), "zip": zip([1], [2], strict=True), "filter": filter(None, [0, 1]),
            "enumerate": enumerate("a")}[how]


@small_task
def fails(how: str) -> Any:
    return problem(how)


@small_task
def lengths(found: Iterable[Any]) -> str:
    return repr(found)


@workflow
def raises(how: str) -> Any:
    return fails(how=how)


@workflow
def gives(how: str) -> str:
    return lengths(found=fails(how=how))


class Sample:
    """No dataclass."""

    def __init__(self, file: LatchFile) -> None:
        self.file = file


@small_task
def sampled() -> Sample:
    Path("x.txt").write_text("x")
    return Sample(LatchFile("x.txt"))


@workflow
def hidden() -> Sample:
    return sampled()


def _late(way: str) -> None:
    time.sleep(0.5)
    with Path("late.txt").open("a") as file:
        file.write(f"{way}\n")


@small_task
def started(way: str) -> LatchFile:
    Path("late.txt").touch()
    if way == "thread":
        threading.Thread(target=_late, args=(way,)).start()
    elif way == "executor":
        ThreadPoolExecutor(1).submit(_late, way)
    else:
        multiprocessing.get_context("fork").Process(target=_late, args=(way,)).start()
    return LatchFile("late.txt")


@workflow
def late(way: str) -> LatchFile:
    return started(way=way)
