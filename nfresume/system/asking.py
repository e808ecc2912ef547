"""Run a user's code in a child process and get one JSON document from it, within a timeout.

The user's code may print, hang, crash or exit the process. The parent is safe from all of that: the child
sends its answer through a pipe of its own, or it sends nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nfresume.domain.errors import InvalidMetadata, UsageError
from nfresume.system import acting


@dataclass(frozen=True)
class Answer:
    """What the child answered. `document` is None when it ended without an answer."""

    document: dict[str, Any] | None
    exit_status: int


def ask(module: str, question: Mapping[str, Any], timeout: float) -> Answer:
    """Run `python -m module FD` in a child process. The question is its standard input, FD takes its answer.

    `timeout` is in seconds. When it is over, the child and its process group are killed and TimeoutError is
    raised.
    """
    read_end, write_end = os.pipe()
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", module, str(write_end)], stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=(write_end,), start_new_session=True,
        env={**acting.environment(), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    os.close(write_end)
    try:
        assert child.stdin is not None
        with contextlib.suppress(BrokenPipeError), child.stdin:
            child.stdin.write(json.dumps(question).encode())
        document = _read(read_end, child, timeout)
    finally:
        os.close(read_end)
        _kill(child)
    return Answer(document, child.returncode)


def ask_about(subject: str, module: str, question: Mapping[str, Any], timeout: float) -> dict[str, Any]:
    """Ask about a Python workflow or task, which `subject` names in messages.

    `timeout` is in seconds. Raises UsageError for bad inputs, InvalidMetadata for a file that does not load.
    """
    try:
        found = ask(module, question, timeout)
    except TimeoutError:
        raise InvalidMetadata(f"{subject}: loading took longer than {timeout:.0f} s",
                              "move what waits or computes during the import into a function") from None
    if found.document is None:
        raise InvalidMetadata(f"{subject}: the process that loaded it ended without an answer "
                              f"(exit status {found.exit_status})", "try to import the file in Python")
    if "input" in found.document:
        raise UsageError(f"{subject}: {found.document['input']}", "inputs are --NAME VALUE")
    if "error" in found.document:
        raise InvalidMetadata(f"{subject}: {found.document['error']}", "fix the file")
    return found.document


def _read(fd: int, child: subprocess.Popen[bytes], timeout: float) -> dict[str, Any] | None:
    data, end = b"", time.monotonic() + timeout
    while not data.endswith(b"\n"):
        ready, _, _ = select.select([fd], [], [], max(0.0, end - time.monotonic()))
        if not ready:
            raise TimeoutError
        chunk = os.read(fd, 65536)
        if not chunk:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout)
            return None
        data += chunk
    answer: dict[str, Any] = json.loads(data)
    return answer


def _kill(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def answer(
    work: Callable[[dict[str, Any]], dict[str, Any]], explain: Callable[[BaseException, dict[str, Any]], str]
) -> None:
    """Do the work in the child, send the answer, and exit.

    When `work` raises anything, SystemExit included, the answer is {"error": the text that `explain` gives}.
    """
    fd = int(sys.argv[1])
    question = json.loads(sys.stdin.buffer.read())
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    try:
        document = work(question)
    except BaseException as e:
        document = {"error": explain(e, question)}
    data = json.dumps(document).encode() + b"\n"
    while data:
        data = data[os.write(fd, data):]
    os._exit(0)


def explain(error: BaseException, file: Path) -> str:
    """What a user's `file` raised while it was loaded, and in which line: one line of text."""
    from pydantic import ValidationError

    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(str(file.parent))]
    where = f"line {frames[-1].lineno} of {Path(frames[-1].filename).name}: " if frames else ""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        return f"{where}{error.title}.{name} {first['msg'].removeprefix('Value error, ')}"
    if isinstance(error, SystemExit):
        return f"{where}it exits the process (status {error.code})"
    return f"{where}{type(error).__name__}: {error}"
