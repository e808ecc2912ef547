"""Users, the accounts they act for, and what they may do there. Pure."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Role(StrEnum):
    """What a member of an account may do; each includes those before it."""

    VIEWER = "viewer"  # look
    EDITOR = "editor"  # launch, relaunch, cancel, extend, pin, delete
    OWNER = "owner"  # say who is a member

    def includes(self, other: Role) -> bool:
        """True when whoever has this role may do what `other` may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


class TokenKind(StrEnum):
    """What a secret is for."""

    API = "api"  # a program's, until revoked
    LOGIN = "login"  # a link that works once
    SESSION = "session"  # a browser's, after a login


@dataclass(frozen=True)
class User:
    """A user, with the role in each account; the account of the same name is the user's own."""

    id: str
    name: str
    roles: Mapping[str, Role] = field(default_factory=dict)


@dataclass(frozen=True)
class Token:
    """A secret as the database knows it: by its digest."""

    id: str
    user_id: str
    kind: TokenKind
    name: str
    account: str | None
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None
    revoked_at: datetime | None


def digest(secret: str) -> str:
    """What is stored of a secret: it has 256 random bits, so no salt and no slow hash is needed."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def csrf(session: str) -> str:
    """What every form of a session must send along: only who knows the session can make it."""
    return hmac.new(session.encode(), b"csrf", hashlib.sha256).hexdigest()
