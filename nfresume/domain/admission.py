"""Who may enter with an OpenID Connect provider: the setting `oidc_admit`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

#: Names that no user of a provider gets: they would look like the site's own.
RESERVED = frozenset({
    "admin", "administrator", "root", "nfresume", "system", "sweeper", "supervisor", "everyone", "all", "any",
    "none", "default", "operator", "owner", "editor", "viewer", "support", "security", "service", "api",
    "run",
})


class Kind(StrEnum):
    """What a rule looks at."""

    ANY = "any"  # whoever the provider knows
    DOMAIN = "domain"  # the domain of a verified e-mail address
    USER = "user"  # a verified e-mail address
    SUBJECT = "subject"  # the provider's id of a user
    GROUP = "group"  # a group in the provider's claim


@dataclass(frozen=True)
class Rule:
    """One entry of `oidc_admit`."""

    kind: Kind
    value: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}" if self.value else str(self.kind)


def parse(value: Any) -> tuple[Rule, ...]:
    """Rules from texts such as `domain:example.org`, `group:genomics`, `user:ada@example.org` or `any`.

    A single text may hold several, separated by commas. Raises ValueError.
    """
    texts = value.split(",") if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"must be a list of texts, not {value!r}")
    return tuple(_rule(text.strip()) for text in texts if text.strip())


def _rule(text: str) -> Rule:
    kind, _, rest = text.partition(":")
    if text == Kind.ANY:
        return Rule(Kind.ANY)
    if kind not in list(Kind) or kind == Kind.ANY or not rest.strip():
        raise ValueError(f"{text!r} is none of domain:NAME, group:NAME, user:ADDRESS, subject:ID, any")
    folded = rest.strip() if kind in (Kind.GROUP, Kind.SUBJECT) else rest.strip().lower()
    return Rule(Kind(kind), folded)


def is_for(claims: Mapping[str, Any], issuer: str, client_id: str) -> bool:
    """True for the ID token of this provider, for this client. Whose metadata said so does not count."""
    audience = claims.get("aud")
    meant = audience if isinstance(audience, list) else [audience]
    return str(claims.get("iss", "")).rstrip("/") == issuer.rstrip("/") and client_id in meant


def verified_email(claims: Mapping[str, Any]) -> str | None:
    """The e-mail address that the provider has verified, in lower case; None without one."""
    address = claims.get("email")
    verified = claims.get("email_verified") in (True, "true")  # Cognito sends a text
    if not verified or not isinstance(address, str) or address.count("@") != 1:
        return None
    return address.strip().lower()


def admits(rules: Iterable[Rule], claims: Mapping[str, Any], groups_claim: str) -> bool:
    """True when one of the rules admits the user of these claims. Without rules nobody is admitted."""
    email = verified_email(claims)
    listed = claims.get(groups_claim)
    texts = listed if isinstance(listed, list) else [listed]
    groups = {text for text in texts if isinstance(text, str)}
    facts: dict[Kind, set[Any]] = {
        Kind.ANY: {""}, Kind.DOMAIN: {email.partition("@")[2]} if email else set(),
        Kind.USER: {email} if email else set(), Kind.SUBJECT: {claims.get("sub")}, Kind.GROUP: groups}
    return any(rule.value in facts[rule.kind] for rule in rules)


def wanted_name(claims: Mapping[str, Any]) -> str:
    """The name that a new user would like: of the verified e-mail address, else what the provider shows."""
    email = verified_email(claims)
    return (email.partition("@")[0] if email else "") or str(claims.get("preferred_username") or "user")
