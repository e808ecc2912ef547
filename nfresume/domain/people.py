"""Users, their roles in accounts, and their tokens. Pure."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class Role(StrEnum):
    """What a member of an account may do. Each role includes the ones above it in this list."""

    VIEWER = "viewer"  # may look
    EDITOR = "editor"  # may launch, relaunch, cancel, extend, pin, delete
    OWNER = "owner"  # may add, change and remove members

    def includes(self, other: Role) -> bool:
        """True when this role may do everything that `other` may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


class TokenKind(StrEnum):
    """What a secret is for."""

    API = "api"  # for a program, until it is revoked
    LOGIN = "login"  # in a link that works once
    SESSION = "session"  # for a browser, after a login


@dataclass(frozen=True)
class User:
    """A user with a role in each account. The account of the same name is the user's own."""

    id: str
    name: str
    roles: Mapping[str, Role] = field(default_factory=dict)
    disabled: bool = False


@dataclass(frozen=True)
class Actor:
    """Who does something, in the audit trail, and from which address (None: at a terminal)."""

    name: str
    address: str | None = None


def web_actor(actor: Actor) -> str:
    """The actor of an event of an execution that was caused from the web: the user and the address."""
    return f"{actor.name}@web({actor.address})"


@dataclass(frozen=True)
class Invitation:
    """An offer of a role in an account, which its user may accept."""

    account: str
    name: str
    role: Role
    invited_by: str
    at: datetime


@dataclass(frozen=True)
class AuditEntry:
    """One entry of the audit trail. It is never changed and never removed.

    `execution` is the id of an execution for what was done to one, and None for everything else.
    """

    at: datetime
    name: str
    actor: str
    address: str | None
    account: str | None
    detail: Mapping[str, Any]
    execution: str | None = None


@dataclass(frozen=True)
class Token:
    """What the database stores about a secret. The secret itself is stored as a digest only."""

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
    """The SHA-256 of a secret, to be stored. Secrets have 256 random bits: no salt or slow hash is needed."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def csrf(session: str) -> str:
    """The CSRF token that every form of a session must send. Only who knows the session can make it."""
    return hmac.new(session.encode(), b"csrf", hashlib.sha256).hexdigest()
