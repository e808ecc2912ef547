"""Users, members and tokens in the database."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterable
from datetime import timedelta

import sqlalchemy as sa

from nfresume.domain.errors import Conflict, NotFound
from nfresume.domain.executions import check_account
from nfresume.domain.people import Invitation, Role, Token, TokenKind, User, digest
from nfresume.store.database import Tx
from nfresume.store.schema import audit, executions, invitations, members, tokens, users

#: A session without a request for so long is over.
IDLE = timedelta(hours=24)
#: How long an invitation can be accepted.
INVITATION = timedelta(days=7)
_VALID = sa.select(tokens).join(users, users.c.id == tokens.c.user_id).where(
    tokens.c.revoked_at.is_(None), users.c.disabled_at.is_(None))


def add_user(
    tx: Tx, name: str, issuer: str | None = None, subject: str | None = None, role: Role = Role.OWNER
) -> User:
    """Add a user with a role in the account of the same name. Raises Conflict when the name is taken."""
    check_account(name)
    if any(tx.conn.execute(sa.select(column).where(sa.func.lower(column) == name.lower()).limit(1)).first()
           for column in (users.c.name, members.c.account)):
        raise Conflict(f"the name {name} is taken", "choose another")
    user_id = str(uuid.uuid4())
    tx.conn.execute(users.insert().values(id=user_id, name=name, issuer=issuer, subject=subject,
                                          created_at=tx.now))
    tx.conn.execute(members.insert().values(account=name, user_id=user_id, role=role))
    return get(tx, user_id)


def is_free(tx: Tx, name: str) -> bool:
    """True when no user and no account has or had this name, whatever its case."""
    columns = (users.c.name, members.c.account, executions.c.account, tokens.c.account, invitations.c.account,
               audit.c.account)
    return not any(
        tx.conn.execute(sa.select(column).where(sa.func.lower(column) == name.lower()).limit(1)).first()
        for column in columns)


def set_disabled(tx: Tx, user_id: str, *, disabled: bool) -> None:
    """Disable a user, whose sessions and tokens are refused from now on, or undo that."""
    tx.conn.execute(users.update().where(users.c.id == user_id)
                    .values(disabled_at=tx.now if disabled else None))


def remove_user(tx: Tx, user_id: str) -> None:
    """Remove a user with all roles, sessions and tokens. Raises Conflict for the last owner of an account
    with other members."""
    user = get(tx, user_id)
    for account, role in user.roles.items():
        others = [member for member, _ in members_of(tx, account) if member.id != user_id]
        if role is Role.OWNER and others and not any(o.roles[account] is Role.OWNER for o in others):
            raise Conflict(f"account {account} would have no owner", "make another user an owner first")
    for table in (members, tokens, invitations):
        tx.conn.execute(table.delete().where(table.c.user_id == user_id))
    tx.conn.execute(users.delete().where(users.c.id == user_id))


# -- invitations -----------------------------------------------------------------------------------


def invite(tx: Tx, account: str, name: str, role: Role, invited_by: str) -> None:
    """Offer a role in an account. An unknown name is stored too: the answer must not tell who exists."""
    user_id = tx.conn.execute(sa.select(users.c.id).where(users.c.name == name)).scalar()
    withdraw(tx, account, name)
    tx.conn.execute(invitations.insert().values(account=account, name=name, user_id=user_id, role=role,
                                                invited_by=invited_by, at=tx.now))


def withdraw(tx: Tx, account: str, name: str) -> None:
    """Remove an invitation, if there is one."""
    tx.conn.execute(invitations.delete().where(
        invitations.c.account == account, invitations.c.name == name))


def invitations_to(tx: Tx, account: str) -> list[Invitation]:
    """The open invitations to an account, by name."""
    return _invitations(tx, invitations.c.account == account)


def invitations_of(tx: Tx, user_id: str) -> list[Invitation]:
    """The open invitations of a user."""
    return _invitations(tx, invitations.c.user_id == user_id)


def _invitations(tx: Tx, which: sa.ColumnElement[bool]) -> list[Invitation]:
    rows = tx.conn.execute(invitations.select().where(which, invitations.c.at > tx.now - INVITATION)
                           .order_by(invitations.c.account, invitations.c.name))
    return [Invitation(r.account, r.name, Role(r.role), r.invited_by, r.at) for r in rows]


def get(tx: Tx, user_id: str) -> User:
    """A user with all roles. Raises NotFound."""
    return _user(tx, users.c.id == user_id, user_id)


def by_name(tx: Tx, name: str) -> User:
    """A user by name. Raises NotFound."""
    return _user(tx, users.c.name == name, name)


def by_subject(tx: Tx, issuer: str, subject: str) -> User | None:
    """The user with this identity at an OpenID Connect provider, or None."""
    try:
        return _user(tx, (users.c.issuer == issuer) & (users.c.subject == subject), subject)
    except NotFound:
        return None


def _user(tx: Tx, which: sa.ColumnElement[bool], shown: str) -> User:
    row = tx.conn.execute(users.select().where(which)).first()
    if row is None:
        raise NotFound(f"there is no user {shown!r}", "`nfresume user list` shows them")
    roles = tx.conn.execute(sa.select(members.c.account, members.c.role)
                            .where(members.c.user_id == row.id).order_by(members.c.account))
    return User(row.id, row.name, {account: Role(role) for account, role in roles},
                disabled=row.disabled_at is not None)


def all_users(tx: Tx) -> list[User]:
    """Every user, by name."""
    ids = tx.conn.execute(sa.select(users.c.id).order_by(users.c.name)).scalars().all()
    return [get(tx, user_id) for user_id in ids]


def members_of(tx: Tx, account: str) -> list[tuple[User, Role]]:
    """The members of an account with their roles, by name."""
    query = sa.select(members.c.user_id, members.c.role).where(members.c.account == account)
    rows = tx.conn.execute(query).all()
    return sorted(((get(tx, user_id), Role(role)) for user_id, role in rows), key=lambda pair: pair[0].name)


def set_role(tx: Tx, account: str, user_id: str, role: Role | None) -> None:
    """Set a user's role in an account, or remove it (None). Raises Conflict for the account's last owner."""
    mine = (members.c.account == account) & (members.c.user_id == user_id)
    owners = tx.conn.execute(sa.select(members.c.user_id).where(
        members.c.account == account, members.c.role == Role.OWNER)).scalars().all()
    if role is not Role.OWNER and list(owners) == [user_id]:
        raise Conflict(f"account {account} would have no owner", "make another user an owner first")
    tx.conn.execute(members.delete().where(mine))
    if role is not None:
        tx.conn.execute(members.insert().values(account=account, user_id=user_id, role=role))


# -- tokens ----------------------------------------------------------------------------------------


def issue(
    tx: Tx, user_id: str, kind: TokenKind, name: str, valid: timedelta | None, account: str | None = None
) -> str:
    """Create a token and return its secret; only a digest is stored, so it cannot be shown again."""
    secret = f"nfr_{secrets.token_urlsafe(32)}"  # 256 bits; the prefix lets secret scanners recognise it
    tx.conn.execute(tokens.insert().values(
        id=secrets.token_hex(4), user_id=user_id, kind=kind, digest=digest(secret), name=name,
        account=account, created_at=tx.now, expires_at=tx.now + valid if valid else None,
    ))
    return secret


def find_token(tx: Tx, secret: str, kind: TokenKind) -> Token | None:
    """The token with this secret, or None if it is of another kind, expired or revoked."""
    row = tx.conn.execute(_VALID.where(tokens.c.digest == digest(secret), tokens.c.kind == kind,
                                       _not_expired(tx))).first()
    return _token(row) if row else None


def valid(tx: Tx, token_ids: Iterable[str]) -> dict[str, User]:
    """By token id, the users of those tokens and sessions that are still valid."""
    rows = tx.conn.execute(_VALID.where(tokens.c.id.in_(list(token_ids)), _not_expired(tx))).all()
    return {row.id: get(tx, row.user_id) for row in rows}


def _not_expired(tx: Tx) -> sa.ColumnElement[bool]:
    last_used = sa.func.coalesce(tokens.c.used_at, tokens.c.created_at)
    return (tokens.c.expires_at.is_(None) | (tokens.c.expires_at > tx.now)) & (
        (tokens.c.kind != TokenKind.SESSION) | (last_used > tx.now - IDLE))


def use_once(tx: Tx, secret: str) -> Token | None:
    """The login token with this secret, revoked at once: only the first caller gets it, others get None."""
    token = find_token(tx, secret, TokenKind.LOGIN)
    return token if token is not None and revoke(tx, token.id) else None


def used(tx: Tx, token_id: str) -> None:
    """Record that a token is used now."""
    tx.conn.execute(tokens.update().where(tokens.c.id == token_id).values(used_at=tx.now))


def revoke(tx: Tx, token_id: str, user_id: str | None = None) -> bool:
    """Revoke a token, only if it belongs to `user_id` when that is given; False when none was revoked."""
    query = tokens.update().where(tokens.c.id == token_id, tokens.c.revoked_at.is_(None))
    if user_id is not None:
        query = query.where(tokens.c.user_id == user_id)
    return tx.conn.execute(query.values(revoked_at=tx.now)).rowcount == 1


def end_sessions(tx: Tx, user_id: str | None = None) -> int:
    """End the sessions and unused login links of a user (None: of everybody). Returns how many."""
    query = tokens.update().where(tokens.c.kind.in_([TokenKind.SESSION, TokenKind.LOGIN]),
                                  tokens.c.revoked_at.is_(None))
    if user_id is not None:
        query = query.where(tokens.c.user_id == user_id)
    return tx.conn.execute(query.values(revoked_at=tx.now)).rowcount


def sessions_of(tx: Tx, user_id: str) -> list[Token]:
    """A user's sessions that have not ended, newest first."""
    rows = tx.conn.execute(_VALID.where(
        tokens.c.user_id == user_id, tokens.c.kind == TokenKind.SESSION, _not_expired(tx),
    ).order_by(tokens.c.created_at.desc()))
    return [_token(row) for row in rows]


def end_tokens(tx: Tx, user_id: str, account: str) -> int:
    """Revoke a user's API tokens that are for one account. Returns how many."""
    return tx.conn.execute(tokens.update().where(
        tokens.c.user_id == user_id, tokens.c.account == account, tokens.c.revoked_at.is_(None),
    ).values(revoked_at=tx.now)).rowcount


def tokens_of(tx: Tx, user_id: str) -> list[Token]:
    """A user's API tokens that are not revoked, newest first."""
    rows = tx.conn.execute(tokens.select().where(
        tokens.c.user_id == user_id, tokens.c.kind == TokenKind.API, tokens.c.revoked_at.is_(None),
    ).order_by(tokens.c.created_at.desc()))
    return [_token(row) for row in rows]


def _token(row: sa.Row[tuple[object, ...]]) -> Token:
    r = row._mapping
    return Token(r["id"], r["user_id"], TokenKind(r["kind"]), r["name"], r["account"], r["created_at"],
                 r["expires_at"], r["used_at"], r["revoked_at"])
