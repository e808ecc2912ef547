"""login-link, token, user, sessions, audit: who may use the console and the API, and who did."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from nfresume.cli import options as common
from nfresume.cli.output import print_json, say
from nfresume.domain.wording import printable

if TYPE_CHECKING:
    from nfresume.service.identity import Identity
    from nfresume.settings import Settings

token_app = typer.Typer(help="Tokens for programs: create, list, revoke.", no_args_is_help=True)
user_app = typer.Typer(help="Users of the console: add, list, role, disable, enable, remove.",
                       no_args_is_help=True)
sessions_app = typer.Typer(help="Sessions of browsers: end.", no_args_is_help=True)

UserName = Annotated[str | None, typer.Option("--user", help="The user (default: you).")]


@contextmanager
def _identity() -> Iterator[tuple[Identity, Settings, str]]:
    from nfresume import settings
    from nfresume.service.identity import Identity
    from nfresume.store import Store

    conf = settings.load()
    with closing(Store.open(conf.database_url)) as store:
        yield Identity(store), conf, settings.user_name()


def login_link(user: UserName = None) -> None:
    """Print a link that logs a user in. It works once, within twelve hours.

    Example: nfresume login-link --user maintainer
    """
    with _identity() as (identity, conf, me):
        secret = identity.login_link(user or me, conf.account if user in (None, me) else None)
        print(f"{conf.web_url or 'http://127.0.0.1:8765'}/login?token={secret}")


@token_app.command("create")
def token_create(
    name: Annotated[str, typer.Option("--name", help="Name of the program that uses it.")] = "command line",
    user: UserName = None,
    account: Annotated[
        str | None, typer.Option("--account", help="Only for this account (default: all of the user's).")
    ] = None,
    days: Annotated[float, typer.Option("--days", min=0.01, max=3650, help="Days until it expires.")] = 365,
) -> None:
    """Create a token for a program, and print it. It cannot be shown again.

    Example: nfresume token create --name ci --account team
    """
    with _identity() as (identity, conf, me):
        if user is None:
            identity.login_link(me, conf.account)  # adds you as a user if you are not one yet
        print(identity.create_token(user or me, name, account, days))


@token_app.command("list")
def token_list(user: UserName = None, as_json: common.Json = False) -> None:
    """List a user's tokens, without their secrets.

    Example: nfresume token list --json
    """
    from nfresume.domain import views

    with _identity() as (identity, _, me):
        found = identity.tokens(user or me)
    rows = [{"id": t.id, "name": t.name, "account": t.account, "created_at": views.time(t.created_at),
             "expires_at": views.time(t.expires_at), "used_at": views.time(t.used_at)} for t in found]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        print(printable(f"{row['id']}  {row['name']}  account {row['account'] or '(all)'}  "
                        f"until {row['expires_at'] or 'revoked'}  last used {row['used_at'] or 'never'}"))


@token_app.command("revoke")
def token_revoke(token_id: Annotated[str, typer.Argument(metavar="TOKEN_ID")], user: UserName = None) -> None:
    """Revoke a token: from now on it is refused.

    Example: nfresume token revoke 1a2b3c4d
    """
    with _identity() as (identity, _, me):
        identity.revoke(user or me, token_id)
    say(f"token {token_id} is revoked")


@user_app.command("add")
def user_add(name: Annotated[str, typer.Argument(metavar="NAME")]) -> None:
    """Add a user, with an account of the same name.

    Example: nfresume user add maintainer
    """
    with _identity() as (identity, _, _me):
        identity.add_user(name)
    say(f"user {name} is added; `nfresume login-link --user {name}` prints a link to log in")


@user_app.command("list")
def user_list(as_json: common.Json = False) -> None:
    """List users and their roles.

    Example: nfresume user list --json
    """
    with _identity() as (identity, _, _me):
        found = identity.users()
    if as_json:
        print_json([{"name": u.name, "roles": {a: str(r) for a, r in u.roles.items()}} for u in found])
        return
    for user in found:
        print(f"{user.name}  {', '.join(f'{role} of {account}' for account, role in user.roles.items())}")


@user_app.command("role")
def user_role(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    account: Annotated[str, typer.Argument(metavar="ACCOUNT")],
    role: Annotated[str, typer.Argument(metavar="owner|editor|viewer|none")],
) -> None:
    """Set what a user may do in an account: look (viewer), launch and delete (editor), or all (owner).

    `none` removes the user from the account.

    Example: nfresume user role maintainer team editor
    """
    from nfresume.domain.people import Role

    chosen = None if role == "none" else common.chosen(Role, role, "ROLE")
    with _identity() as (identity, _, _me):
        identity.set_role(name, account, chosen)
    say(f"{name} is {'not a member' if chosen is None else chosen} of account {account}")


@user_app.command("disable")
def user_disable(name: Annotated[str, typer.Argument(metavar="NAME")]) -> None:
    """Keep a user out: sessions end now, tokens and log-ins are refused until `user enable`.

    Example: nfresume user disable maintainer
    """
    with _identity() as (identity, _, _me):
        identity.set_disabled(name, disabled=True)
    say(f"user {name} is disabled")


@user_app.command("enable")
def user_enable(name: Annotated[str, typer.Argument(metavar="NAME")]) -> None:
    """Let a disabled user in again.

    Example: nfresume user enable maintainer
    """
    with _identity() as (identity, _, _me):
        identity.set_disabled(name, disabled=False)
    say(f"user {name} is enabled")


@user_app.command("remove")
def user_remove(name: Annotated[str, typer.Argument(metavar="NAME")]) -> None:
    """Remove a user with all roles, sessions and tokens. Executions and the audit trail stay.

    Example: nfresume user remove maintainer
    """
    with _identity() as (identity, _, _me):
        identity.remove_user(name)
    say(f"user {name} is removed")


@sessions_app.command("end")
def sessions_end(
    user: UserName = None,
    everybody: Annotated[bool, typer.Option("--everybody", help="End the sessions of all users.")] = False,
) -> None:
    """End the sessions and unused login links of a user: their browsers and event streams are logged out.

    Example: nfresume sessions end --user maintainer
    """
    with _identity() as (identity, _, me):
        ended = identity.end_sessions(None if everybody else user or me)
    say(f"{ended} sessions and login links are ended")


def audit(
    account: common.Account = None,
    everything: Annotated[
        bool, typer.Option("--everything", help="All accounts, and what concerns none, such as log-ins.")
    ] = False,
    since: Annotated[str | None, typer.Option("--since", help="For example 30d or 12h.")] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=100_000, help="At most so many, newest first.")
    ] = 1000,
    as_json: common.Json = False,
) -> None:
    """Show the audit trail: who logged in, launched, deleted, changed tokens or roles; from where, when.

    Example: nfresume audit --everything --since 7d --json
    """
    from datetime import UTC, datetime

    from nfresume.domain import views
    from nfresume.domain.periods import period

    now = datetime.now(UTC)
    begin = period(now, since=since, start=None, end=None, month=None).start if since else None
    with _identity() as (identity, conf, _me):
        found = identity.audit(None if everything else account or conf.account, begin, limit)
    rows = [views.audit_entry(entry) for entry in found]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        detail = ", ".join(f"{key} {value}" for key, value in row["detail"].items() if value is not None)
        print(printable(f"{row['at']}  {row['name']:<14} {row['actor']}  {row['address'] or '-'}  "
                        f"{row['account'] or '-'}  {row['execution'] or '-'}  {detail}"))


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("login-link")(login_link)
    app.add_typer(token_app, name="token")
    app.add_typer(user_app, name="user")
    app.add_typer(sessions_app, name="sessions")
    app.command("audit")(audit)
