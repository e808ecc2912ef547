"""Values of settings: each function turns a text of the environment or a value of TOML into its type.

All raise ValueError or TypeError, which say what the value must be.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from pathlib import Path
from typing import Any

from nfresume.domain.errors import UsageError
from nfresume.domain.executions import check_account


def path(value: Any) -> Path:
    if not isinstance(value, str) or not value or "\0" in value or "\n" in value:
        raise ValueError(f"not a path: {value!r}")
    path = Path(os.path.expanduser(value))  # stays as it is for a user without a home folder
    if not path.is_absolute():
        raise ValueError(f"must be an absolute path, not {value!r}")
    return path


def text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"not a text: {value!r}")
    return value


def version(value: Any) -> str:
    if not re.fullmatch(r"\d+\.\d+\.\d+(-[a-z0-9]+)?", text(value)):
        raise ValueError(f"must be a version such as 26.04.6, not {value!r}")
    return str(value)


def account(value: Any) -> str:
    try:
        return check_account(text(value))
    except UsageError as e:
        raise ValueError(f"{e.message}: {e.hint}") from None


def seconds(value: Any) -> float:
    seconds = float(value)
    if not 0 < seconds <= 86_400:
        raise ValueError(f"must be between 0 and 86400 seconds, not {value!r}")
    return seconds


def days(value: Any) -> float:
    days = float(value)
    if not 0 <= days <= 36_500:
        raise ValueError(f"must be between 0 and 36500 days, not {value!r}")
    return days


def one_of(kind: type[StrEnum]) -> Callable[[Any], StrEnum]:
    def parse(value: Any) -> StrEnum:
        if value not in list(kind):
            raise ValueError(f"must be {' or '.join(kind)}, not {value!r}")
        return kind(value)

    return parse


def yes_or_no(value: Any) -> bool:
    found = {"true": True, "false": False}.get(str(value).lower())
    if found is None:
        raise ValueError(f"must be true or false, not {value!r}")
    return found


def workers(value: Any) -> int:
    workers = int(str(value))
    if not 1 <= workers <= 1024:
        raise ValueError(f"must be between 1 and 1024, not {value!r}")
    return workers


def per_second(value: Any) -> float:
    rate = float(value)
    if not 1 <= rate <= 1e9:
        raise ValueError(f"must be at least 1 operation per second, not {value!r}")
    return rate


def price(value: Any) -> Decimal:
    try:
        price = Decimal(str(value))
    except InvalidOperation:
        raise ValueError(f"not a price: {value!r}") from None
    if not price.is_finite() or price < 0:
        raise ValueError(f"not a price: {value!r}")
    return price


def currency(value: Any) -> str:
    if not re.fullmatch(r"[A-Z]{3}", text(value)):
        raise ValueError(f"must be a code of three letters such as USD, not {value!r}")
    return str(value)


def efs(value: Any) -> str:
    if not re.fullmatch(r"(arn:aws[a-z-]*:elasticfilesystem:[a-z0-9-]+:\d*:file-system/)?fs-[0-9a-f]+",
                        text(value)):
        raise ValueError(f"must be an id such as fs-0123abcd, or an ARN, not {value!r}")
    return str(value)


def size(value: Any) -> int:
    from pydantic import ByteSize, TypeAdapter  # takes 30 ms, and few need it

    return int(TypeAdapter(ByteSize).validate_python(value))


def share(value: Any) -> float:
    share = float(value)
    if not 0 < share <= 1:
        raise ValueError(f"must be more than 0 and at most 1, not {value!r}")
    return share


class Secret(str):
    """A text that is never printed: str() and repr() give asterisks."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "********"

    def __str__(self) -> str:
        return "********"


def secret(value: Any) -> Secret:
    return Secret(text(value))


def url(value: Any) -> str:
    if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", text(value)):
        raise ValueError(f"must be like https://nfresume.example.org, not {value!r}")
    return str(value).rstrip("/")


def texts(value: Any) -> tuple[str, ...]:
    """A list of texts. In the environment they are separated by commas."""
    texts = [text.strip() for text in value.split(",")] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
        raise ValueError(f"must be a list of texts, not {value!r}")
    return tuple(texts)


def folders(value: Any) -> tuple[str, ...]:
    """Absolute paths of folders, in which {account} stands for an account."""
    return tuple(os.path.normpath(path(text)) for text in texts(value))


def networks(value: Any) -> tuple[str, ...]:
    found = texts(value)
    for network in found:
        ipaddress.ip_network(network, strict=False)  # raises ValueError
    return found
