"""What the messages in Nextflow's log say. Patterns follow its sources, the same from 24.04 to 26.04."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from nfresume.nextflow import failures

_HASH = r"[0-9a-f]{2}/[0-9a-f]{6}"
_TASK_DIR = r"/(?:.*/)?[0-9a-f]{2}/[0-9a-f]{30,62}"
_SEEN = re.compile(rf"\[({_HASH})\] (Submitted|Re-submitted|Cached) process > (.+)", re.DOTALL)
_STORED = re.compile(r"\[skipping\] Stored process > (.+)", re.DOTALL)
_NOTE = re.compile(rf"\[({_HASH})\] NOTE: (.*) -- (Error is ignored|Execution is retried)(?: \((\d+)\))?",
                   re.DOTALL)
_JOB = re.compile(rf"\[[A-Z]+\] submitted process (.+) > jobId: ([^;\s]+); workDir: ({_TASK_DIR})", re.DOTALL)
_FAULT = re.compile(rf"Handling unexpected condition for\n  task: name=(.*?); work-dir=({_TASK_DIR}|null)\n"
                    r"  error \[([\w.$]+|null)\]: (.*)", re.DOTALL)
#: (how)(job)(id)(name) (exit)(error)(dir). A tag may look like the rest, so the last place is tried first.
_HANDLER = r"Task (completed|timed-out) > TaskHandler\[(?:(?:jobId|podName): ([^;]*); )?id: (\d+); name: (.*)"
_OUTCOME = r"; status: (?:NEW|SUBMITTED|RUNNING|COMPLETED); exit: (-?\d+|-); error: "
_END = rf"; workDir: ({_TASK_DIR})(?: started: .*)?\]"
_DONE = (re.compile(_HANDLER + _OUTCOME + "(-)" + _END, re.DOTALL),
         re.compile(_HANDLER + "?" + _OUTCOME + "(.*)" + _END, re.DOTALL))
_PUBLISHING = "publishing file: "
#: A file name may contain an arrow itself; a target always starts with a slash or a scheme.
_ARROW = re.compile(r" -\[([A-Z_]+)\]-> (?=/|[a-z0-9]+://)")
_COUNT = re.compile(r"(\w+)Count=(-?\d+);")
_EXCEPTION = re.compile(r"(?:Caused by: )?(?:[\w$]+\.)+[\w$]+(?:: (.*))?")
_FRAME = re.compile(r"\s+(?:at |\.\.\. \d+ )")
_MOST_LINES = 200
_LONGEST = 500


class Done(NamedTuple):
    """A task has ended. `exit` None: it has no exit status. `error`: why a native task failed."""

    id: int
    name: str
    exit: int | None
    dir: str
    error: str
    job: str
    timed_out: bool


@dataclass(frozen=True, slots=True)
class Note:
    """A failure is ignored, or its task is retried: then `errors` counts its failures so far."""

    hash: str
    reason: str
    ignored: bool
    errors: int


@dataclass(frozen=True, slots=True)
class Fault:
    """A task has failed, for whatever reason. `dir` is empty for a process that failed before any task."""

    name: str
    dir: str
    reason: str


def seen(message: str) -> tuple[str, str, str] | None:
    """The short hash, the verb (Submitted, Re-submitted, Cached) and the name of a task that appears."""
    found = _SEEN.fullmatch(message)
    return (found[1], found[2], found[3]) if found else None


def stored(message: str) -> str | None:
    """The name of a task that was skipped, because its results are in its storeDir."""
    found = _STORED.fullmatch(message)
    return found[1] if found else None


def note(message: str) -> Note | None:
    """A failure that is ignored or retried."""
    found = _NOTE.fullmatch(message)
    if found is None:
        return None
    return Note(found[1], found[2], found[3] == "Error is ignored", int(found[4] or 0))


def job(message: str) -> tuple[str, str, str] | None:
    """The task's name, the job's id and the task dir, of a submission to a cluster."""
    found = _JOB.fullmatch(message)
    return (found[1], found[2], found[3]) if found else None


def fault(message: str) -> Fault | None:
    """The failure of a task."""
    found = _FAULT.fullmatch(message)
    if found is None:
        return None
    return Fault(found[1], "" if found[2] == "null" else found[2], one_line(found[4]))


def done(message: str) -> Done | None:
    """The end of a task."""
    for pattern in _DONE:
        if found := pattern.fullmatch(message):
            how, job_id, number, name, code, text, folder = found.groups()
            why = "" if text in ("-", "null") else one_line(text)
            return Done(int(number), name, None if code == "-" else int(code), folder, why, job_id or "",
                        how == "timed-out")
    return None


def published(message: str) -> list[tuple[str, str, str]]:
    """All (source, mode, target) that a line may mean: a name may look like an arrow. Empty: it has none."""
    text = message[len(_PUBLISHING):]
    return [(text[:arrow.start()], arrow[1], text[arrow.end():]) for arrow in _ARROW.finditer(text)]


def publish_failure(message: str) -> str | None:
    """The first line of a message that a file was not published; None for a try that is repeated."""
    text, found, _ = message.partition(" -- See log file")
    return one_line(text) if found else None


def statistics(message: str) -> dict[str, int]:
    """Nextflow's own counts at the end of a run, such as {"succeeded": 3, "failed": 1}."""
    return {name: int(number) for name, number in _COUNT.findall(message)}


def one_line(text: str) -> str:
    """A text without line breaks and control characters, cut to 500 characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}"


def lines_of(message: str) -> tuple[str, ...]:
    """The lines of an error report without its stack traces, at most 200."""
    kept = [line for line in message.split("\n") if not _FRAME.match(line)]
    return tuple(line[:1000] for line in kept[:_MOST_LINES])


def error(message: str) -> str:
    """An error in its own words, in one line.

    For a task it is what follows `Caused by:`. For an exception it is its text, and for a script that does
    not compile the file, the line and what is wrong there. Never the logger's line alone.
    """
    head, *rest = message.split("\n")
    if head.startswith("Error executing process > '") and "Caused by:" in rest:
        return one_line("\n".join(_section(rest[rest.index("Caused by:") + 1:])))
    said, causes = _split(rest)
    if compile_error := failures.compiled([head, *said, *"\n".join(causes).split("\n")]):
        return one_line(compile_error)
    if head in ("@unknown", ""):
        return one_line(causes[0] if causes else " ".join(said)) or "unexpected error"
    return one_line("\n".join([head, *said]))


def _section(lines: list[str]) -> list[str]:
    """The indented lines at the beginning."""
    found: list[str] = []
    for line in lines:
        if line and not line.startswith("  "):
            break
        if not line.strip() and found:
            break
        found.append(line)
    return found


def _split(lines: list[str]) -> tuple[list[str], list[str]]:
    """The lines before the stack trace, and the texts of its exceptions."""
    said: list[str] = []
    causes: list[list[str]] = []
    for at, line in enumerate(lines):
        found = _EXCEPTION.fullmatch(line)
        if found and (causes or _has_frames(lines[at + 1:])):
            causes.append([found[1] or line.removeprefix("Caused by: ")])
        elif _FRAME.match(line):
            continue
        elif causes:
            causes[-1].append(line)
        else:
            said.append(line)
    return said, ["\n".join(cause).strip() for cause in causes]


def _has_frames(lines: list[str]) -> bool:
    return any(_FRAME.match(line) for line in lines[:_MOST_LINES])
