"""Users, members, logins, sessions and tokens: who somebody is, and with which roles.

Every change is in the audit trail, in the transaction that makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import TypeVar

from nfresume.domain.admission import RESERVED
from nfresume.domain.errors import Conflict, NotFound
from nfresume.domain.executions import check_account, id_stem
from nfresume.domain.people import Actor, AuditEntry, Invitation, Role, Token, TokenKind, User
from nfresume.settings import user_name
from nfresume.store import Store, Tx, people, trail
from nfresume.system import processes

Result = TypeVar("Result")

SESSION = timedelta(days=7)
LOGIN_LINK = timedelta(hours=12)
#: How many tokens a user, and how many open invitations an account may have.
MAX_TOKENS = 100
MAX_INVITATIONS = 100


class Identity:
    """The users, members and tokens of one database. Methods raise NotFound or Conflict.

    `actor` is who makes the changes (default: the operating system user at a terminal).
    """

    def __init__(self, store: Store, actor: Actor | None = None) -> None:
        self._store = store
        self._actor = actor or Actor(f"{user_name()}@{processes.host()}")

    def by(self, actor: Actor) -> Identity:
        """The same, for changes by another actor."""
        return Identity(self._store, actor)

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
                trail.record(tx, "user_add", self._actor, name, user=name)
            if account is not None and user.roles.get(account) is not Role.OWNER:
                people.set_role(tx, account, user.id, Role.OWNER)
                trail.record(tx, "role", self._actor, account, user=name, role=str(Role.OWNER))
            trail.record(tx, "login_link", self._actor, None, user=name)
            return people.issue(tx, user.id, TokenKind.LOGIN, "login link", LOGIN_LINK)

        return self._write(change)

    def log_in(self, secret: str) -> str | None:
        """The secret of a new session for an unused login link; None: the link is not valid.

        The secret is always new, so that nobody can plant a session (session fixation).
        """
        def change(tx: Tx) -> str | None:
            token = people.use_once(tx, secret)
            return None if token is None else self._begin_session(tx, people.get(tx, token.user_id), "link")

        return self._write(change)

    def log_in_as(self, issuer: str, subject: str, wanted: str, role: Role, reserved: Iterable[str]) -> str:
        """The secret of a new session for a user of an OpenID Connect provider who was admitted.

        A new user is added, with `role` in the account of the same name. `wanted` is the name that the
        provider gives, `reserved` are names that must not be used. Raises Conflict for a disabled user.
        """
        def change(tx: Tx) -> str:
            user = people.by_subject(tx, issuer, subject)
            if user is None:
                name = _free_name(tx, wanted, {n.lower() for n in reserved} | RESERVED)
                user = people.add_user(tx, name, issuer, subject, role)
                trail.record(tx, "user_add", self._actor, name, user=name, issuer=issuer, role=str(role))
            if user.disabled:
                raise Conflict("this user is disabled", "ask the site's administrator")
            return self._begin_session(tx, user, issuer)

        return self._write(change)

    def _begin_session(self, tx: Tx, user: User, how: str) -> str:
        trail.record(tx, "log_in", Actor(user.name, self._actor.address), None, user=user.name, by=how)
        return people.issue(tx, user.id, TokenKind.SESSION, "browser", SESSION)

    def refused(self, what: str, count: int = 1) -> None:
        """Record log-ins or tokens that were refused."""
        self._write(lambda tx: trail.record(tx, "refused", self._actor, None, what=what, count=count))

    def session(self, secret: str) -> tuple[User, Token] | None:
        """The user who is logged in with this session's secret, and the session; None: no such session."""
        return self._user_of(secret, TokenKind.SESSION)

    def log_out(self, secret: str) -> None:
        """End the session of a secret."""
        def change(tx: Tx) -> None:
            token = people.find_token(tx, secret, TokenKind.SESSION)
            if token is not None:
                people.revoke(tx, token.id)
                trail.record(tx, "log_out", self._actor)

        self._write(change)

    def end_sessions(self, name: str | None) -> int:
        """End the sessions and unused login links of a user, None: of everybody. Returns how many."""
        def change(tx: Tx) -> int:
            ended = people.end_sessions(tx, people.by_name(tx, name).id if name is not None else None)
            trail.record(tx, "sessions_end", self._actor, None, user=name or "everybody", count=ended)
            return ended

        return self._write(change)

    def sessions(self, user: User) -> list[Token]:
        """A user's sessions, newest first."""
        with self._store.begin(write=False) as tx:
            return people.sessions_of(tx, user.id)

    def end_session(self, user: User, session_id: str) -> None:
        """End one of a user's sessions. Raises NotFound."""
        def change(tx: Tx) -> None:
            if session_id not in {session.id for session in people.sessions_of(tx, user.id)}:
                raise NotFound("you have no such session", "it may have ended")
            people.revoke(tx, session_id, user.id)
            trail.record(tx, "sessions_end", self._actor, None, user=user.name, count=1)

        self._write(change)

    # -- programs -----------------------------------------------------------------------------------

    def bearer(self, secret: str) -> tuple[User, Token] | None:
        """The user and token of an API token's secret; None: not valid."""
        return self._user_of(secret, TokenKind.API)

    def _user_of(self, secret: str, kind: TokenKind) -> tuple[User, Token] | None:
        with self._store.begin(write=False) as tx:
            token = people.find_token(tx, secret, kind)
            if token is None:
                return None
            user = people.get(tx, token.user_id)
            stale = token.used_at is None or tx.now - token.used_at > timedelta(minutes=5)
        if stale:  # not for every request, so that reads need not wait for a write
            self._write(lambda tx: people.used(tx, token.id))
        return user, token

    def still_valid(self, token_ids: Iterable[str]) -> dict[str, User]:
        """By token id, the users of those sessions and tokens that are still valid."""
        with self._store.begin(write=False) as tx:
            return people.valid(tx, token_ids)

    def create_token(self, name: str, text: str, account: str | None, days: float | None) -> str:
        """The secret of a new API token of a user. It cannot be read again. `days` None or 0: no expiry."""
        def change(tx: Tx) -> str:
            user = people.by_name(tx, name)
            if account is not None and account not in user.roles:
                raise NotFound(f"{name} has no account {account!r}",
                               f"`nfresume user role {name} {account} editor`")
            if len(people.tokens_of(tx, user.id)) >= MAX_TOKENS:
                raise Conflict(f"{name} has {MAX_TOKENS} tokens", "revoke one that is not used")
            trail.record(tx, "token_create", self._actor, account, user=name, token=text[:100], days=days)
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
            user = people.by_name(tx, name)
            found = [token for token in people.tokens_of(tx, user.id) if token.id == token_id]
            if not found or not people.revoke(tx, token_id, user.id):
                raise NotFound(f"{name} has no token {token_id!r}", "`nfresume token list` shows them")
            trail.record(tx, "token_revoke", self._actor, found[0].account, user=name, token=token_id)

        self._write(change)

    # -- users and members --------------------------------------------------------------------------

    def users(self) -> list[User]:
        """All users, by name."""
        with self._store.begin(write=False) as tx:
            return people.all_users(tx)

    def add_user(self, name: str) -> User:
        """Add a user, with an account of the same name."""
        def change(tx: Tx) -> User:
            trail.record(tx, "user_add", self._actor, name, user=name)
            return people.add_user(tx, name)

        return self._write(change)

    def remove_user(self, name: str) -> None:
        """Remove a user with all roles, sessions and tokens. Executions and the audit trail stay."""
        def change(tx: Tx) -> None:
            user = people.by_name(tx, name)
            people.remove_user(tx, user.id)
            for account in user.roles:
                trail.record(tx, "user_remove", self._actor, account, user=name)

        self._write(change)

    def set_disabled(self, name: str, *, disabled: bool) -> None:
        """Disable a user, whose sessions, links and tokens end at once; or enable them again."""
        def change(tx: Tx) -> None:
            user = people.by_name(tx, name)
            people.set_disabled(tx, user.id, disabled=disabled)
            if disabled:
                people.end_sessions(tx, user.id)
            trail.record(tx, "user_disable" if disabled else "user_enable", self._actor, None, user=name)

        self._write(change)

    def set_role(self, name: str, account: str, role: Role | None) -> User:
        """Set a user's role in an account. None removes the user. Either ends the user's sessions."""
        def change(tx: Tx) -> User:
            user = people.by_name(tx, name)
            people.set_role(tx, check_account(account), user.id, role)
            people.withdraw(tx, account, name)
            people.end_sessions(tx, user.id)
            if role is None:
                people.end_tokens(tx, user.id, account)
            trail.record(tx, "role", self._actor, account, user=name, role=str(role or "none"))
            return people.get(tx, user.id)

        return self._write(change)

    def invite(self, account: str, name: str, role: Role) -> None:
        """Offer a role to whoever has this name. The answer is the same if nobody has it."""
        check_account(name)

        def change(tx: Tx) -> None:
            if len(people.invitations_to(tx, account)) >= MAX_INVITATIONS:
                raise Conflict(f"account {account} has {MAX_INVITATIONS} open invitations", "withdraw some")
            people.invite(tx, account, name, role, self._actor.name)
            trail.record(tx, "invite", self._actor, account, user=name, role=str(role))

        self._write(change)

    def withdraw(self, account: str, name: str) -> None:
        """Withdraw an invitation, if there is one."""
        def change(tx: Tx) -> None:
            people.withdraw(tx, account, name)
            trail.record(tx, "withdraw", self._actor, account, user=name)

        self._write(change)

    def answer(self, user: User, account: str, *, accept: bool) -> None:
        """Accept or decline an invitation. Raises NotFound without one."""
        def change(tx: Tx) -> None:
            found = [i for i in people.invitations_of(tx, user.id) if i.account == account]
            if not found:
                raise NotFound(f"you have no invitation to account {account!r}", "ask one of its owners")
            people.withdraw(tx, account, user.name)
            if accept:
                people.set_role(tx, account, user.id, found[0].role)
            trail.record(tx, "accept" if accept else "decline", self._actor, account, user=user.name,
                         role=str(found[0].role))

        self._write(change)

    def invitations_of(self, user: User) -> list[Invitation]:
        """The open invitations of a user."""
        with self._store.begin(write=False) as tx:
            return people.invitations_of(tx, user.id)

    def invitations_to(self, account: str) -> list[Invitation]:
        """The open invitations to an account."""
        with self._store.begin(write=False) as tx:
            return people.invitations_to(tx, account)

    def members(self, account: str) -> list[tuple[User, Role]]:
        """The members of an account, with their roles."""
        with self._store.begin(write=False) as tx:
            return people.members_of(tx, account)

    def audit(self, account: str | None, since: datetime | None = None, limit: int = 100) -> list[AuditEntry]:
        """The newest entries of the audit trail of an account (None: of the whole site), newest first."""
        with self._store.begin(write=False) as tx:
            return trail.newest(tx, account, since, limit)


def _free_name(tx: Tx, wanted: str, reserved: set[str]) -> str:
    """A free user name like the one that the provider gives.

    A new user gets a role in the account of the same name. So the name must never have been another's.
    """
    stem = id_stem(wanted.partition("@")[0])
    for number in range(1, 1000):
        name = stem if number == 1 else f"{stem}-{number}"
        if name not in reserved and people.is_free(tx, name):
            return name
    raise Conflict(f"no user name is free for {stem!r}", "`nfresume user list`")
