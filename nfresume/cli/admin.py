"""serve, engine, doctor, config, notify, completion: the commands for setup and maintenance."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from nfresume.cli import options as common
from nfresume.cli.output import end_progress, print_json, progress_line, say
from nfresume.domain.wording import printable

engine_app = typer.Typer(help="Show or install the Nextflow that runs pipelines.", no_args_is_help=True)


def serve(
    every: Annotated[float | None, typer.Option("--every", min=0.1, help="Seconds between sweeps.")] = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 = any free one.")] = 8765,
    no_web: Annotated[bool, typer.Option("--no-web", help="Sweep, never serve the web.")] = False,
    no_scheduler: Annotated[bool, typer.Option("--no-scheduler", help="Serve the web, never sweep.")] = False,
    log_level: Annotated[
        str | None, typer.Option("--log-level", metavar="debug|info|warning|error", help="What is logged.")
    ] = None,
    account: common.Account = None,
) -> None:
    """Serve the console and the API, and sweep on a schedule: expire, settle, measure, notify.

    Several servers may run at once, on any hosts, with one PostgreSQL database. Without web_url the server
    is for this machine only, and prints a link that logs you in once.

    Example: nfresume serve --every 60 --port 8765
    """
    from nfresume import daemon, settings
    from nfresume.domain.errors import UsageError

    conf = settings.load(sweep_seconds=every, account=account, log_level=log_level)
    if no_web and no_scheduler:
        raise UsageError("--no-web and --no-scheduler leave nothing to do", "remove one of them")
    loopback = host in ("127.0.0.1", "::1", "localhost")
    if not loopback and not no_web and conf.web_url is None:
        raise UsageError(f"--host {host} is open to other machines, but web_url is not set",
                         "set web_url to the URL at which users reach the console")
    daemon.serve(conf, None if no_web else daemon.Address(host, port), schedule=not no_scheduler)


@engine_app.command("info")
def engine_info(nextflow: common.Nextflow = None, as_json: common.Json = False) -> None:
    """Show which Nextflow a launch would use, and where that comes from.

    Example: nfresume engine info --json
    """
    _engine(nextflow, as_json)


@engine_app.command("install")
def engine_install(as_json: common.Json = False) -> None:
    """Install the embedded engine now, for example while the machine has a network.

    Example: nfresume engine install
    """
    from nfresume import settings
    from nfresume.nextflow import embedded

    java = embedded.java(settings.load().java_home)
    jars = embedded.install(java, progress_line)
    embedded.verify(jars)
    end_progress()
    if as_json:
        print_json({"version": embedded.VERSION, "path": str(jars), "java": str(java)})
    else:
        say(f"Nextflow {embedded.VERSION} is installed in {jars}; all files are verified")


def _engine(nextflow: Any, as_json: bool) -> None:
    from nfresume import settings
    from nfresume.nextflow import engine

    conf = settings.load(nextflow=str(nextflow.absolute()) if nextflow else None)
    found = engine.find(conf, progress_line, install=False)
    end_progress()
    if as_json:
        print_json({"version": found.version, "source": found.source, "path": found.path, "why": found.why,
                    "command": list(found.launcher)})
    else:
        print(f"Nextflow {found.version}\n  from   {found.source}\n  path   {found.path}")
        print(f"  why    {found.why}")


def doctor(
    mark_root: Annotated[
        bool, typer.Option("--mark-root", help="Mark the folder as a root: use it when the folder exists, is "
                           "mounted and is the right one, or when a known root has moved here for good.")
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="For each execution on disk that the database does not know, ask "
                           "whether to adopt or to release it.")
    ] = False,
    adopt: Annotated[
        list[str] | None, typer.Option("--adopt", metavar="ID", help="Store this unknown execution in the "
                                       "database, and keep its work dir.")
    ] = None,
    release: Annotated[
        list[str] | None, typer.Option("--release", metavar="ID", help="Delete the work dir of this unknown "
                                       "execution.")
    ] = None,
    root: common.Root = None,
    as_json: common.Json = False,
) -> None:
    """Check root, database and engine; exit code 1 when something is wrong.

    After the database was restored from a backup, there may be executions on disk that it does not know.
    nfresume never deletes them by itself: adopt or release each of them. After the disk was restored, there
    may be work dirs again that were deleted: release them.

    Examples:

      nfresume doctor --mark-root --root /mnt/efs/nfresume

      nfresume doctor --adopt rnaseq-4k9x2m --release old-1a2b3c
    """
    from nfresume.service import doctor

    conf = _settings(root)
    if repair or adopt or release:
        _repair(conf, set(adopt or ()), set(release or ()), ask=repair)
    if mark_root:
        say(f"marked {doctor.mark_root(conf)}")
    checks = doctor.run(conf)
    if as_json:
        print_json([{"check": c.name, "ok": c.ok, "detail": c.detail, "hint": c.hint} for c in checks])
    else:
        for check in checks:
            print(f"{'ok  ' if check.ok else 'FAIL'}  {check.name:<10} {printable(check.detail)}")
            if check.hint:
                print(f"                 {printable(check.hint)}")
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


def _repair(conf: Any, adopt: set[str], release: set[str], *, ask: bool) -> None:
    from nfresume.domain.errors import NotFound, UsageError
    from nfresume.service import doctor

    found = {folder.id: folder for folder in doctor.unknown_folders(conf)}
    if absent := sorted((adopt | release) - set(found)):
        raise NotFound(f"{absent[0]} is not an unknown execution in {conf.root}",
                       f"unknown executions: {', '.join(found) or 'none'}")
    if ask and not sys.stdin.isatty():
        raise UsageError("--repair needs a terminal to ask on", "use --adopt ID and --release ID")
    for folder in found.values():
        keep = folder.id in adopt
        if not keep and folder.id not in release:
            if not ask:
                continue
            choice = "(r)elease" if folder.deleted else "(a)dopt, (r)elease"
            answer = typer.prompt(f"{folder.id} of {folder.account}, {folder.pipeline}, {folder.attempts} "
                                  f"attempts: {choice} or (s)kip?", default="s")
            if answer[:1] not in ("a", "r"):
                continue
            keep = answer.startswith("a")
        say(doctor.repair(conf, folder, keep=keep))


def _settings(root: Any) -> Any:
    from nfresume import settings

    return settings.load(root=str(root.expanduser().absolute()) if root else None)


def config(as_json: common.Json = False) -> None:
    """Show every setting, its value, and where it comes from.

    Settings come from the environment, then from a TOML file, then from defaults.

    Example: nfresume config
    """
    from nfresume import settings

    conf = settings.load()
    rows = [(s, _shown(s.key, getattr(conf, s.key)), conf.sources[s.key]) for s in settings.SETTINGS]
    if as_json:
        print_json({s.key: {"value": value, "source": source, "env": s.env, "help": s.help}
                    for s, value, source in rows})
        return
    print(f"settings file: {settings.config_file()}")
    for setting, value, source in rows:
        print(f"{setting.key} = {printable('-' if value is None else value)}   ({source})")
        print(f"    {setting.env}: {setting.help}")


def _shown(key: str, value: object) -> str | None:
    if key == "database_url":
        from sqlalchemy import make_url

        return make_url(str(value)).render_as_string(hide_password=True)
    if isinstance(value, tuple):  # budgets, channels: their str() hides secrets
        return "; ".join(str(each) for each in value) or None
    return None if value is None else str(value)


def notify(
    test: Annotated[bool, typer.Option("--test", help="Send a test notice to each channel.")] = False,
    as_json: common.Json = False,
) -> None:
    """Show the channels of notices and how many were delivered; exit code 1 when a test notice failed.

    Channels are Apprise URLs in the setting `notify`: mail, Slack, Teams, webhooks and about a hundred more.

    Example: nfresume notify --test
    """
    from nfresume import settings
    from nfresume.runs import delivery

    conf = settings.load()
    test_errors = {}
    if test:
        test_errors = {channel.key: error for channel, error in delivery.test(conf.notify, conf.account)}
    rows = [_channel(channel, summary, test_errors)
            for channel, summary in delivery.summaries(conf) if not test or channel.key in test_errors]
    if as_json:
        print_json(rows)
    elif not rows:
        print("no channel is set: see `notify` in `nfresume config`")
    for row in [] if as_json else rows:
        print(printable(row["channel"]))
        if test:
            print(f"  test       {printable(row['trouble'] or 'delivered')}")
        print(f"  delivered  {row['delivered']}, failed {row['failed']}"
              + (f": {printable(row['newest_error'])}" if row["newest_error"] else ""))
    if any(test_errors.values()):
        raise typer.Exit(1)


def _channel(channel: Any, summary: Any, test_errors: dict[str, str | None]) -> dict[str, Any]:
    delivered, failed, newest_error = summary
    return {"channel": str(channel), "key": channel.key, "kinds": [str(kind) for kind in channel.kinds],
            "delivered": delivered, "failed": failed, "newest_error": newest_error,
            "trouble": test_errors.get(channel.key)}


def completion(
    shell: Annotated[str, typer.Argument(help="bash, zsh or fish")],
) -> None:
    """Print the completion script for a shell.

    Example: nfresume completion bash >> ~/.bashrc
    """
    from typer._completion_shared import get_completion_script

    from nfresume.domain.errors import UsageError

    if shell not in ("bash", "zsh", "fish"):
        raise UsageError(f"there is no completion for {shell!r}", "choose bash, zsh or fish")
    sys.stdout.write(
        get_completion_script(prog_name="nfresume", complete_var="_NFRESUME_COMPLETE", shell=shell) + "\n"
    )


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("serve")(serve)
    app.add_typer(engine_app, name="engine")
    app.command("doctor")(doctor)
    app.command("config")(config)
    app.command("notify")(notify)
    app.command("completion")(completion)
