"""Users, members, logins, sessions and tokens: who somebody is, and with which roles."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from nfresume.domain.errors import Conflict, NotFound
from nfresume.domain.executions import check_account, id_stem
from nfresume.domain.people import Role, Token, TokenKind, User
from nfresume.store import Store, Tx, people

Result = TypeVar("Result")

SESSION = timedelta(days=7)
LOGIN_LINK = timedelta(hours=12)


class Identity:
    """The users, members and tokens of one database. Methods raise NotFound or Conflict."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def _write(self, change: Callable[[Tx], Result]) -> Result:
        with self._store.begin() as tx:
            return change(tx)

    # -- browsers -----------------------------------------------------------------------------------

    def login_link(self, name: str, account: str | None = None) -> str:
        """The secret of a link that logs a user in once. The user is added if new.

        With `account`, the user is made its owner.
        """
        def change(tx: Tx) -> str:
            try:
                user = people.by_name(tx, name)
            except NotFound:
                user = people.add_user(tx, name)
            if account is not None and user.roles.get(account) is not Role.OWNER:
                people.set_role(tx, account, user.id, Role.OWNER)
            return people.issue(tx, user.id, TokenKind.LOGIN, "login link", LOGIN_LINK)

        return self._write(change)

    def log_in(self, secret: str) -> str | None:
        """The secret of a new session for an unused login link; None: the link is not valid.

        The secret is always new, so that nobody can plant a session (session fixation).
        """
        def change(tx: Tx) -> str | None:
            token = people.use_once(tx, secret)
            if token is None:
                return None
            return people.issue(tx, token.user_id, TokenKind.SESSION, "browser", SESSION)

        return self._write(change)

    def log_in_as(self, issuer: str, subject: str, wanted: str) -> str:
        """The secret of a new session for a user of an OpenID Connect provider. The user is added if new.

        `wanted` is the name that the provider gives.
        """
        def change(tx: Tx) -> str:
            user = people.by_subject(tx, issuer, subject)
            if user is None:
                user = people.add_user(tx, _free_name(tx, wanted), issuer, subject)
            return people.issue(tx, user.id, TokenKind.SESSION, "browser", SESSION)

        return self._write(change)

    def session(self, secret: str) -> User | None:
        """The user who is logged in with this session's secret; None: no such session."""
        with self._store.begin(write=False) as tx:
            token = people.find_token(tx, secret, TokenKind.SESSION)
            return people.get(tx, token.user_id) if token else None

    def log_out(self, secret: str) -> None:
        """End the session of a secret."""
        def change(tx: Tx) -> None:
            token = people.find_token(tx, secret, TokenKind.SESSION)
            if token is not None:
                people.revoke(tx, token.id)

        self._write(change)

    # -- programs -----------------------------------------------------------------------------------

    def bearer(self, secret: str) -> tuple[User, Token] | None:
        """The user and token of an API token's secret; None: not valid."""
        with self._store.begin(write=False) as tx:
            token = people.find_token(tx, secret, TokenKind.API)
            if token is None:
                return None
            user = people.get(tx, token.user_id)
            stale = token.used_at is None or tx.now - token.used_at > timedelta(minutes=1)
        if stale:  # not for every request, so that reads need not wait for a write
            self._write(lambda tx: people.used(tx, token.id))
        return user, token

    def create_token(self, name: str, text: str, account: str | None, days: float | None) -> str:
        """The secret of a new API token of a user. It cannot be read again. `days` None or 0: no expiry."""
        def change(tx: Tx) -> str:
            user = people.by_name(tx, name)
            if account is not None and account not in user.roles:
                raise NotFound(f"{name} has no account {account!r}",
                               f"`nfresume user role {name} {account} editor`")
            valid = timedelta(days=days) if days else None
            return people.issue(tx, user.id, TokenKind.API, text, valid, account)

        return self._write(change)

    def tokens(self, name: str) -> list[Token]:
        """A user's valid API tokens."""
        with self._store.begin(write=False) as tx:
            return people.tokens_of(tx, people.by_name(tx, name).id)

    def revoke(self, name: str, token_id: str) -> None:
        """Revoke an API token of a user."""
        def change(tx: Tx) -> None:
            if not people.revoke(tx, token_id, people.by_name(tx, name).id):
                raise NotFound(f"{name} has no token {token_id!r}", "`nfresume token list` shows them")

        self._write(change)

    # -- users and members --------------------------------------------------------------------------

    def users(self) -> list[User]:
        """All users, by name."""
        with self._store.begin(write=False) as tx:
            return people.all_users(tx)

    def add_user(self, name: str) -> User:
        """Add a user, with an account of the same name."""
        return self._write(lambda tx: people.add_user(tx, name))

    def set_role(self, name: str, account: str, role: Role | None) -> User:
        """Set a user's role in an account. None removes the user from the account."""
        def change(tx: Tx) -> User:
            user = people.by_name(tx, name)
            people.set_role(tx, check_account(account), user.id, role)
            return people.get(tx, user.id)

        return self._write(change)

    def members(self, account: str) -> list[tuple[User, Role]]:
        """The members of an account, with their roles."""
        with self._store.begin(write=False) as tx:
            return people.members_of(tx, account)


def _free_name(tx: Tx, wanted: str) -> str:
    """A free user name like the one that the provider gives.

    A new user owns the account of the same name. So the name must not be that of an existing account.
    """
    stem = id_stem(wanted.partition("@")[0])
    for number in range(1, 1000):
        name = stem if number == 1 else f"{stem}-{number}"
        if people.is_free(tx, name):
            return name
    raise Conflict(f"no user name is free for {stem!r}", "`nfresume user list`")
