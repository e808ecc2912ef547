"""The log of a process: levels, text or JSON lines on standard error, and whom a line is about.

`about(execution=..., attempt=..., account=..., request=...)` puts these fields on every line that is logged
in its block, in this thread or task. Control characters in messages and fields are written as escapes, so
that a pipeline's name cannot forge a line. Secrets are never passed to a logger.
"""

from __future__ import annotations

import atexit
import contextlib
import contextvars
import json
import logging
import os
import queue
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener
from typing import Any

from nfresume.domain.wording import printable

#: So many lines wait for a reader of standard error.
_MOST_LINES = 10_000
#: The fields that a line may have, in their order.
FIELDS = ("request", "account", "execution", "attempt")
_MAX_TEXT = 2000
_about: contextvars.ContextVar[dict[str, Any] | None] = contextvars.ContextVar("about", default=None)


@contextmanager
def about(**fields: Any) -> Iterator[None]:
    """Add fields to every line that is logged in this block. None leaves a field as it is."""
    before = _about.get() or {}
    token = _about.set({**before, **{k: v for k, v in fields.items() if v is not None}})  # a dict of its own
    try:
        yield
    finally:
        _about.reset(token)


def bind(**fields: Any) -> None:
    """Add fields to the lines of the block in which this is called, until its end."""
    found = _about.get()
    if found is not None:
        found.update(fields)


def current(name: str) -> str:
    """The value of a field in this block; empty if it has none."""
    return str((_about.get() or {}).get(name, ""))


class _Fields(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.about = dict(_about.get() or {})
        return True


def _values(record: logging.LogRecord) -> dict[str, Any]:
    found: dict[str, Any] = {**getattr(record, "about", {}), **getattr(record, "fields", {})}
    return {name: found[name] for name in (*FIELDS, *(n for n in found if n not in FIELDS)) if name in found}


class TextFormatter(logging.Formatter):
    """`2026-11-26T12:00:00.123Z INFO nfresume.serve: message (execution=x)`, then any traceback."""

    def format(self, record: logging.LogRecord) -> str:
        text = printable(record.getMessage()[:_MAX_TEXT])
        fields = " ".join(f"{name}={printable(str(value))}" for name, value in _values(record).items())
        line = f"{_time(record)} {record.levelname} {record.name}: {text}"
        line += f" ({fields})" if fields else ""
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            line += "".join(f"\n    {printable(each)}" for each in trace.splitlines())
        return line


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the fields, and `traceback` if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"time": _time(record), "level": record.levelname.lower(), "logger": record.name,
                "message": record.getMessage()[:_MAX_TEXT],
                **{name: value if isinstance(value, int | float) else str(value)
                   for name, value in _values(record).items()}}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def _time(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z"


class _Queue(QueueHandler):
    """Hands lines to a thread that writes them. What does not fit is lost; the next line says how much."""

    def __init__(self) -> None:
        self.lines: queue.Queue[logging.LogRecord] = queue.Queue(_MOST_LINES)
        self.lost = 0
        super().__init__(self.lines)
        _Writer(self.lines).start()

    def enqueue(self, record: logging.LogRecord) -> None:
        if self.lines.full():
            self.lost += 1
            return
        if self.lost:
            told = logging.makeLogRecord({
                "name": __name__, "levelno": logging.WARNING, "levelname": "WARNING", "args": (self.lost,),
                "msg": "%d lines are lost: nobody has read standard error"})
            record.msg, self.lost = f"{self.format(told)}\n{record.msg}", 0
        self.lines.put_nowait(record)


class _Writer(QueueListener):
    """A thread that writes to standard error. It may wait there for ever, and holds no lock meanwhile."""

    def handle(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):
            os.write(2, f"{record.getMessage()}\n".encode(errors="backslashreplace"))


def drain(seconds: float = 1.0) -> None:
    """Wait until what was logged is written, but no longer than `seconds`: nobody may be reading."""
    end = time.monotonic() + seconds
    for handler in logging.getLogger().handlers:
        while isinstance(handler, _Queue) and handler.lines.unfinished_tasks and time.monotonic() < end:
            time.sleep(0.005)


def setup(level: str, form: str, *, queued: bool = False) -> None:
    """Log to standard error from now on, in this process. `level` and `form` are values of the settings.

    A reader of standard error that is gone stops nothing: such lines are lost. `queued`: neither does one
    that does not read.
    """
    logging.raiseExceptions = False
    handler = _Queue() if queued else logging.StreamHandler(sys.stderr)
    if queued:
        atexit.register(drain)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    handler.addFilter(_Fields())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("apscheduler", "uvicorn", "sqlalchemy", "alembic", "botocore", "httpx", "httpcore",
                  "asyncio", "apprise", "python_multipart", "sh"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLogger().level))
