"""serve, engine, doctor, config, notify, completion: the commands that set up and look after."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from nfresume.cli import options as common
from nfresume.cli.output import end_progress, print_json, progress_line, say
from nfresume.domain.wording import printable

engine_app = typer.Typer(help="The Nextflow that runs pipelines: info, install.", no_args_is_help=True)


def serve(
    every: Annotated[float | None, typer.Option("--every", min=0.1, help="Seconds between sweeps.")] = None,
    host: Annotated[str, typer.Option("--host", help="Address to serve at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 = any free one.")] = 8765,
    no_web: Annotated[bool, typer.Option("--no-web", help="Only sweep.")] = False,
    no_scheduler: Annotated[bool, typer.Option("--no-scheduler", help="Only serve the web.")] = False,
    account: common.Account = None,
) -> None:
    """Serve the console and the API, and sweep on schedule: expire, reconcile, measure, notify.

    Any number may run at once, on any hosts, over one PostgreSQL. Without web_url it serves this machine
    only, and prints a link that logs you in once.

    Example: nfresume serve --every 60 --port 8765
    """
    from nfresume import daemon, settings
    from nfresume.domain.errors import UsageError

    conf = settings.load(sweep_seconds=every, account=account)
    if no_web and no_scheduler:
        raise UsageError("--no-web and --no-scheduler leave nothing to do", "leave one of them out")
    loopback = host in ("127.0.0.1", "::1", "localhost")
    if not loopback and not no_web and conf.web_url is None:
        raise UsageError(f"--host {host} serves others, and web_url is not set",
                         "set it to the URL at which they reach the console")
    daemon.serve(conf, None if no_web else daemon.Where(host, port), schedule=not no_scheduler)


@engine_app.command("info")
def engine_info(nextflow: common.Nextflow = None, as_json: common.Json = False) -> None:
    """Show which Nextflow a launch would use, and where it comes from.

    Example: nfresume engine info --json
    """
    _engine(nextflow, as_json)


@engine_app.command("install")
def engine_install(as_json: common.Json = False) -> None:
    """Install the embedded engine now, for example before the network goes.

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
        say(f"Nextflow {embedded.VERSION} is installed in {jars}, and intact")


def _engine(nextflow: Any, as_json: bool) -> None:
    from nfresume import settings
    from nfresume.nextflow import engine

    conf = settings.load(nextflow=str(nextflow.absolute()) if nextflow else None)
    found = engine.find(conf, progress_line, install=False)
    end_progress()
    if as_json:
        print_json({"version": found.version, "source": found.source, "path": found.path,
                    "command": list(found.launcher)})
    else:
        print(f"Nextflow {found.version}\n  from   {found.source}\n  path   {found.path}")


def doctor(
    mark_root: Annotated[
        bool, typer.Option("--mark-root", help="Mark the root: it exists, is mounted, and is the right one; "
                           "or one that is known has moved here for good.")
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Ask for each execution on disk that the database does not know "
                           "whether to adopt or to release it.")
    ] = False,
    adopt: Annotated[
        list[str] | None, typer.Option("--adopt", metavar="ID", help="Take such a one in, and keep it.")
    ] = None,
    release: Annotated[
        list[str] | None, typer.Option("--release", metavar="ID", help="Delete the work dir of such a one.")
    ] = None,
    root: common.Root = None,
    as_json: common.Json = False,
) -> None:
    """Check root, database and engine; exit code 1 when something is wrong.

    After a restore of the database from a backup there may be executions on disk that it does not know.
    They are never touched by themselves: adopt them one by one, or release them.

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
        raise NotFound(f"the database knows {absent[0]}, or it is not in {conf.root}",
                       f"unknown are: {', '.join(found) or 'none'}")
    if ask and not sys.stdin.isatty():
        raise UsageError("--repair asks, and there is no terminal", "--adopt ID and --release ID do not ask")
    for folder in found.values():
        keep = folder.id in adopt
        if not keep and folder.id not in release:
            if not ask:
                continue
            answer = typer.prompt(f"{folder.id} of {folder.account}, {folder.pipeline}, {folder.attempts} "
                                  "attempts: (a)dopt, (r)elease or (s)kip?", default="s")
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
    if isinstance(value, tuple):  # a list of things that know how to hide their secrets
        return "; ".join(str(each) for each in value) or None
    return None if value is None else str(value)


def notify(
    test: Annotated[bool, typer.Option("--test", help="Send a test notice to each channel.")] = False,
    as_json: common.Json = False,
) -> None:
    """Show where notices go and whether they arrived; exit code 1 when a test did not.

    Channels are Apprise URLs in the setting `notify`: mail, Slack, Teams, webhooks and some hundred others.

    Example: nfresume notify --test
    """
    from nfresume import settings
    from nfresume.runs import delivery

    conf = settings.load()
    troubles = {}
    if test:
        troubles = {channel.key: trouble for channel, trouble in delivery.test(conf.notify, conf.account)}
    rows = [_channel(channel, summary, troubles)
            for channel, summary in delivery.summaries(conf) if not test or channel.key in troubles]
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
    if any(troubles.values()):
        raise typer.Exit(1)


def _channel(channel: Any, summary: Any, troubles: dict[str, str | None]) -> dict[str, Any]:
    told, failed, newest = summary
    return {"channel": str(channel), "key": channel.key, "kinds": [str(kind) for kind in channel.kinds],
            "delivered": told, "failed": failed, "newest_error": newest,
            "trouble": troubles.get(channel.key)}


def completion(
    shell: Annotated[str, typer.Argument(help="bash, zsh or fish")],
) -> None:
    """Print the completion script for a shell.

    Example: nfresume completion bash >> ~/.bashrc
    """
    from typer._completion_shared import get_completion_script

    from nfresume.domain.errors import UsageError

    if shell not in ("bash", "zsh", "fish"):
        raise UsageError(f"there is no completion for {shell!r}", "bash, zsh or fish")
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
