"""Log-ins, sessions and tokens: who somebody is. What they may do is said by their roles."""

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
    """Users, members and tokens of one database. Raises NotFound and Conflict."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def _write(self, change: Callable[[Tx], Result]) -> Result:
        with self._store.begin() as tx:
            return change(tx)

    # -- browsers -----------------------------------------------------------------------------------

    def login_link(self, name: str, account: str | None = None) -> str:
        """The secret of a link that logs a user in, once; with `account`, one who is made its owner."""
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
        """A new session for a login link that was not used yet: always a new secret, none can be planted."""
        def change(tx: Tx) -> str | None:
            token = people.use_once(tx, secret)
            if token is None:
                return None
            return people.issue(tx, token.user_id, TokenKind.SESSION, "browser", SESSION)

        return self._write(change)

    def log_in_as(self, issuer: str, subject: str, wanted: str) -> str:
        """A new session for somebody whom an OpenID Connect provider knows; a new user at the first time."""
        def change(tx: Tx) -> str:
            user = people.by_subject(tx, issuer, subject)
            if user is None:
                user = people.add_user(tx, _free_name(tx, wanted), issuer, subject)
            return people.issue(tx, user.id, TokenKind.SESSION, "browser", SESSION)

        return self._write(change)

    def session(self, secret: str) -> User | None:
        """Who is logged in with a session's secret."""
        with self._store.begin(write=False) as tx:
            token = people.find_token(tx, secret, TokenKind.SESSION)
            return people.get(tx, token.user_id) if token else None

    def log_out(self, secret: str) -> None:
        """End a session, wherever its secret may be."""
        def change(tx: Tx) -> None:
            token = people.find_token(tx, secret, TokenKind.SESSION)
            if token is not None:
                people.revoke(tx, token.id)

        self._write(change)

    # -- programs -----------------------------------------------------------------------------------

    def bearer(self, secret: str) -> tuple[User, Token] | None:
        """Whose API token this is."""
        with self._store.begin(write=False) as tx:
            token = people.find_token(tx, secret, TokenKind.API)
            if token is None:
                return None
            user = people.get(tx, token.user_id)
            stale = token.used_at is None or tx.now - token.used_at > timedelta(minutes=1)
        if stale:  # not with every request: reading must not wait for writers
            self._write(lambda tx: people.used(tx, token.id))
        return user, token

    def create_token(self, name: str, text: str, account: str | None, days: float | None) -> str:
        """A new API token of a user; its secret is shown this once."""
        def change(tx: Tx) -> str:
            user = people.by_name(tx, name)
            if account is not None and account not in user.roles:
                raise NotFound(f"{name} has no account {account!r}",
                               f"`nfresume user role {name} {account} editor`")
            valid = timedelta(days=days) if days else None
            return people.issue(tx, user.id, TokenKind.API, text, valid, account)

        return self._write(change)

    def tokens(self, name: str) -> list[Token]:
        """A user's API tokens that hold."""
        with self._store.begin(write=False) as tx:
            return people.tokens_of(tx, people.by_name(tx, name).id)

    def revoke(self, name: str, token_id: str) -> None:
        """End an API token of a user."""
        def change(tx: Tx) -> None:
            if not people.revoke(tx, token_id, people.by_name(tx, name).id):
                raise NotFound(f"{name} has no token {token_id!r}", "`nfresume token list` shows them")

        self._write(change)

    # -- users and members --------------------------------------------------------------------------

    def users(self) -> list[User]:
        """Everybody, by name."""
        with self._store.begin(write=False) as tx:
            return people.all_users(tx)

    def add_user(self, name: str) -> User:
        """A new user with an account of the same name."""
        return self._write(lambda tx: people.add_user(tx, name))

    def set_role(self, name: str, account: str, role: Role | None) -> User:
        """Give, change or (None) take a user's role in an account."""
        def change(tx: Tx) -> User:
            user = people.by_name(tx, name)
            people.set_role(tx, check_account(account), user.id, role)
            return people.get(tx, user.id)

        return self._write(change)

    def members(self, account: str) -> list[tuple[User, Role]]:
        """Who may act for an account."""
        with self._store.begin(write=False) as tx:
            return people.members_of(tx, account)


def _free_name(tx: Tx, wanted: str) -> str:
    """A user name like the one that a provider tells, which may be anything: never one whose account is
    somebody's already, since a new user owns the account of that name."""
    stem = id_stem(wanted.partition("@")[0])
    for number in range(1, 1000):
        name = stem if number == 1 else f"{stem}-{number}"
        if people.is_free(tx, name):
            return name
    raise Conflict(f"no user name is free for {stem!r}", "`nfresume user list`")
