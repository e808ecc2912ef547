"""Which operating system user runs what belongs to an account: the setting `run_as`. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from nfresume.domain.errors import NfresumeError, UsageError
from nfresume.domain.executions import check_account

#: Stands for every account that is not named.
OTHERS = "*"
#: A login name as systems allow it, or a number.
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}|\d{1,10}")


class NoUser(NfresumeError):
    """This process cannot act as the operating system user of an account."""

    exit_code = 78
    http_status = 409


@dataclass(frozen=True)
class RunAs:
    """One entry of `run_as`: an account, or `*`, and the name or number of a user."""

    account: str
    user: str

    def __str__(self) -> str:
        return f"{self.account} = {self.user}"


def parse(value: Any) -> tuple[RunAs, ...]:
    """Entries from a table of users by account, or from JSON text. Raises ValueError."""
    table = json.loads(value) if isinstance(value, str) else value
    if not isinstance(table, dict):
        raise ValueError(f"must be a table of users by account, not {value!r}")
    return tuple(_entry(account, user) for account, user in table.items())


def _entry(account: Any, user: Any) -> RunAs:
    text = str(user)
    if isinstance(user, bool) or not isinstance(user, (str, int)) or not _USER.fullmatch(text):
        raise ValueError(f"{user!r} is not the name or number of a user")
    if account != OTHERS:
        try:
            check_account(account)
        except UsageError as e:
            raise ValueError(e.message) from None
    return RunAs(account, text)


def user_of(entries: Iterable[RunAs], account: str) -> str:
    """The user of an account. Raises NoUser."""
    by_account = {entry.account: entry.user for entry in entries}
    if (found := by_account.get(account, by_account.get(OTHERS))) is None:
        raise NoUser(f"account {account} has no operating system user here",
                     "the administrator adds it to the setting run_as")
    return found
