"""Options that several commands share, and how a command opens the service."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from nfresume.service.verbs import Service

Choice = TypeVar("Choice", bound=StrEnum)

_SITE = "Account, root and engine"  # a heading in --help


def complete_id(incomplete: str) -> list[str]:
    """Execution ids that start with `incomplete`, for shell completion; none if the database has an error."""
    from nfresume.domain.errors import NfresumeError

    try:
        with service() as s:
            return [e.id for e in s.newest(limit=500) if e.id.startswith(incomplete)]
    except NfresumeError:
        return []


ExecutionId = Annotated[
    str, typer.Argument(metavar="ID", help="The id of the execution, or a unique prefix of it.",
                        autocompletion=complete_id)
]
Account = Annotated[
    str | None, typer.Option("--account", help="Act for this account.", rich_help_panel=_SITE)
]
Root = Annotated[
    Path | None,
    typer.Option("--root", help="Folder on the shared file system for the work dirs.",
                 rich_help_panel=_SITE),
]
Nextflow = Annotated[
    Path | None,
    typer.Option("--nextflow", help="The nextflow executable to use.", rich_help_panel=_SITE),
]
Retain = Annotated[
    str | None,
    typer.Option("--retain", metavar="full|slim|lean",
                 help="What is kept after a failure: full = all; slim = what a relaunch needs: task dirs of "
                 "failed and aborted tasks are emptied, except for their .command.* files; lean = slim, and "
                 "intermediate files that no coming task reads lose their content."),
]
OnSuccess = Annotated[
    str | None,
    typer.Option("--on-success", metavar="delete|keep",
                 help="After a success delete the work dir, or keep it as it is for "
                 "storage_expiration_hours."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def chosen(kind: type[Choice], value: str | None, option: str) -> Choice | None:
    """The member of the enum `kind` that `value` names; None if it is None. Raises UsageError."""
    from nfresume.domain.errors import UsageError

    if value is None:
        return None
    try:
        return kind(value)
    except ValueError:
        raise UsageError(f"{option}: {value!r} is not one of {', '.join(kind)}",
                         f"for example {option} {next(iter(kind))}") from None


def here() -> Path:
    """The current folder. Raises UsageError when it was removed."""
    from nfresume.domain.errors import UsageError

    try:
        return Path.cwd()
    except FileNotFoundError:
        raise UsageError("the current folder was removed", "change into a folder that exists") from None


@contextmanager
def service(
    account: str | None = None, root: Path | None = None, nextflow: Path | None = None,
    *, launching: bool = False, stdin: int | None = None,
) -> Iterator[Service]:
    """Open the service for these options, and close it at the end.

    It is imported only here, so that `--help` stays fast. With `launching` a supervisor is started first: it
    imports its modules while this process imports its own and checks the launch. `stdin` is the descriptor
    that the head gets as its standard input.
    """
    from nfresume import launchers, settings
    from nfresume.domain.separation import OTHERS
    from nfresume.system import acting

    def absolute(path: Path | None) -> str | None:
        return str(here() / os.path.expanduser(path)) if path is not None else None

    conf = settings.load(account=account, root=absolute(root), nextflow=absolute(nextflow))
    acting.enforce(conf)
    mapped = any(entry.account in (conf.account, OTHERS) for entry in conf.run_as)
    launcher = launchers.chosen(conf)
    if launching:
        launcher.prepare(stdin)
    from nfresume.service.verbs import Service

    opened = Service(conf, launcher)
    try:
        with acting.for_account(conf, conf.account) if mapped else contextlib.nullcontext():
            yield opened
    finally:
        opened.close()
