"""The command tree; turns errors into messages on stderr and exit codes."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import traceback
from typing import Annotated

import typer

from nfresume import __version__
from nfresume.cli import admin, billing, caching, explaining, launching, looking, measuring, people, workdir
from nfresume.cli.output import say
from nfresume.domain.errors import NfresumeError, UsageError

#: Errors of a file system that is away: its server is down, or it is not mounted any more.
_AWAY = (errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EREMOTEIO,
         errno.ENODEV)

app = typer.Typer(
    name="nfresume",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Run Nextflow pipelines; keep their work dir after a failure for as long as you asked; "
    "relaunch from the failed task.\n\n"
    "[bold]nfresume launch[/bold] main.nf -profile test --outdir results\n\n"
    "[bold]nfresume relaunch[/bold] ID",
)

for module in (launching, looking, explaining, workdir, measuring, billing, caching, admin, people):
    module.register(app)


def _version(value: bool) -> None:
    if value:
        print(f"nfresume {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def run() -> None:
    """Run the command line and exit. An error is one line on stderr, perhaps a hint, and an exit code."""
    code = _run()
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        pass  # nobody reads it any more
    except OSError as e:
        say(f"error: standard output cannot be written: {e.strerror}")
        code = code or NfresumeError.exit_code
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    os._exit(code)  # everything is closed by now; a normal interpreter exit would take 40 ms longer


def _help_for(e: typer.TyperException) -> str:
    context = getattr(e, "ctx", None)
    command = context.command_path.partition(" ")[2] if context is not None else ""
    see = f"see `nfresume {command} --help`" if command else "see `nfresume --help`"
    wants_id = str(getattr(getattr(e, "param", None), "metavar", None)).startswith("ID")
    return f"{see}; `nfresume list` shows the IDs" if wants_id else see


def _verb_first(args: list[str]) -> list[str]:
    """`-q launch main.nf` as `launch -q main.nf`: people write `nextflow -q run main.nf` as well."""
    if not args or not args[0].startswith("-") or args[0].startswith("--") or args[0] == "-h":
        return args
    from nfresume.nextflow.options import first

    front: list[str] = []
    rest = list(args)
    while rest and rest[0].startswith("-") and not rest[0].startswith("--"):
        words = first(rest).words
        front += words
        del rest[:len(words)]
    return [rest[0], *front, *rest[1:]] if rest and rest[0] in ("launch", "relaunch") else args


def _run() -> int:
    try:
        words = _verb_first(sys.argv[1:]) or ["--help"]
        code = app(args=words, prog_name="nfresume", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except NfresumeError as e:
        say(f"error: {e.message}")
        if e.hint:
            say(f"  {e.hint}")
        return e.exit_code
    except typer.TyperException as e:
        say(f"error: {e.format_message()}")
        say(f"  {_help_for(e)}")
        return UsageError.exit_code
    except (KeyboardInterrupt, typer.Abort):
        say("aborted")
        return 130
    except BrokenPipeError:
        return 141  # the reader of our output has closed the pipe: 128 + SIGPIPE, as shells report it
    except Exception as e:
        if isinstance(e, OSError) and e.errno in (errno.ENOSPC, errno.EDQUOT):
            say(f"error: {e.filename or 'the output'} cannot be written: {e.strerror}")
            return NfresumeError.exit_code
        if isinstance(e, OSError) and e.errno in _AWAY and e.filename:
            say(f"error: {e.filename} cannot be reached: {e.strerror}")
            say("  is its file system mounted, and its server up?")
            return NfresumeError.exit_code
        traceback.print_exc()
        say("error: this is a bug in nfresume; nothing was deleted because of it")
        return NfresumeError.exit_code
