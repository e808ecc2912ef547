"""Budgets of retained storage: limits, how far they are used, and which work dirs to evict first. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from pathlib import PurePath
from typing import Any, ClassVar

from nfresume.domain.costs import Price, cost_per_month
from nfresume.domain.executions import Execution
from nfresume.domain.workdirs import WorkDirState

#: As a budget's account: every account has this budget of its own.
EACH = "*"


class WhenFull(StrEnum):
    """What happens at the limit."""

    WARN = "warn"
    REFUSE = "refuse"  # a work dir that would exceed the limit is not retained at its first failure
    EVICT = "evict"  # the work dirs that are cheapest to compute again per GB are deleted until it fits


@dataclass(frozen=True)
class Budget:
    """Limits on what `account` retains on `root`. Account None: all accounts together; root None: all roots.

    `bytes` are metered bytes, `objects` are files plus directories, `cost_per_month` is in the root's
    currency, `warn_at` is the used share (0 to 1) from which on to warn.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    account: str | None = None
    root: PurePath | None = None
    bytes: int | None = None
    objects: int | None = None
    cost_per_month: Decimal | None = None
    warn_at: float = 0.8
    when_full: WhenFull = WhenFull.WARN

    def __str__(self) -> str:
        return f"{self.scope()}: {', '.join(self.limits())}, at the limit {self.when_full}"

    def scope(self, account: str | None = None) -> str:
        """Whose budget it is: `account team on /mnt/efs`."""
        name = account or self.account
        whose = f"account {name}" if name else "all accounts"
        return f"{whose} on {self.root}" if self.root else whose

    def limits(self) -> list[str]:
        """The limits as text, such as `5,000,000 objects`."""
        texts = ((self.bytes, "bytes"), (self.objects, "objects"), (self.cost_per_month, "a month"))
        return [f"{limit:,} {unit}" for limit, unit in texts if limit is not None]


@dataclass(frozen=True)
class Use:
    """How much is retained: metered bytes, files plus directories, and their cost per month."""

    bytes: int = 0
    objects: int = 0
    cost_per_month: Decimal = Decimal(0)

    def __add__(self, other: Use) -> Use:
        return Use(self.bytes + other.bytes, self.objects + other.objects,
                   self.cost_per_month + other.cost_per_month)


@dataclass(frozen=True)
class Standing:
    """How far a budget is used. `members` are the executions that use it, the latest retained first.

    `uses` is by execution id.
    """

    name: str
    budget: Budget
    members: tuple[Execution, ...]
    uses: Mapping[str, Use]

    def share_of(self, members: Iterable[Execution]) -> float:
        """The share that `members` use of the tightest limit; 1.0 = full."""
        use = sum((self.uses[e.id] for e in members), Use())
        pairs = ((use.bytes, self.budget.bytes), (use.objects, self.budget.objects),
                 (use.cost_per_month, self.budget.cost_per_month))
        return max(float(used / limit) for used, limit in pairs if limit is not None)

    @property
    def share(self) -> float:
        """The used share of the tightest limit; 1.0 = full."""
        return self.share_of(self.members)

    def __str__(self) -> str:
        return f"{self.share:.0%} of the budget of {self.name} ({', '.join(self.budget.limits())})"


def parse(value: object) -> tuple[Budget, ...]:
    """Budgets from TOML tables, or from JSON text. Raises ValueError with a message of one line."""
    from pydantic import ByteSize, TypeAdapter, ValidationError

    tables = json.loads(value) if isinstance(value, str) else value
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ValueError("must be a list of tables such as [[budgets]] with account, root, bytes, objects, "
                         "cost_per_month, warn_at, when_full")
    try:
        sized = [{**t, "bytes": int(TypeAdapter(ByteSize).validate_python(t["bytes"]))} if "bytes" in t else t
                 for t in tables]
        budgets = TypeAdapter(tuple[Budget, ...]).validate_python(sized)
    except ValidationError as e:
        first = e.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{where}: {first['msg']}".lstrip(": ")) from None
    for budget in budgets:
        _check(budget)
    return budgets


def _check(budget: Budget) -> None:
    limits = [limit for limit in (budget.bytes, budget.objects, budget.cost_per_month) if limit is not None]
    if not limits:
        raise ValueError(f"the budget of {budget.scope()} has no limit: bytes, objects or cost_per_month")
    if any(limit <= 0 for limit in limits):
        raise ValueError(f"the limits of {budget.scope()} must be more than 0; to keep nothing set "
                         "storage_expiration_hours to 0")
    if not 0 < budget.warn_at <= 1:
        raise ValueError(f"warn_at of {budget.scope()} must be more than 0 and at most 1")


def standings(
    budgets: Iterable[Budget], executions: Iterable[Execution], roots: Mapping[str, str],
    price: Callable[[Execution], Price],
) -> Iterator[Standing]:
    """How far each budget is used by the executions that are retained.

    `roots` are paths by root id. A budget for each account gives one Standing per account.
    """
    retained = sorted((e for e in executions if e.work_dir.state is WorkDirState.RETAINED),
                      key=lambda e: (e.updated_at, e.id), reverse=True)
    uses = {e.id: _use(e, price(e)) for e in retained}
    for budget in budgets:
        groups: dict[str | None, list[Execution]] = {}
        for execution in retained:
            if budget.account not in (None, EACH, execution.account):
                continue
            if budget.root is not None and roots.get(execution.root_id) != str(budget.root):
                continue
            groups.setdefault(execution.account if budget.account else None, []).append(execution)
        for account, members in groups.items():
            yield Standing(budget.scope(account), budget, tuple(members), uses)


def _use(execution: Execution, price: Price) -> Use:
    work_dir = execution.work_dir
    metered = work_dir.metered_bytes or 0
    return Use(metered, (work_dir.files or 0) + (work_dir.directories or 0),
               cost_per_month(metered, price.per_gb_month))


def may_be_evicted(execution: Execution) -> bool:
    """True for a retained, measured work dir that has an expiry: not pinned, held or in use."""
    work_dir = execution.work_dir
    return (work_dir.state is WorkDirState.RETAINED and not work_dir.pinned
            and work_dir.expires_at is not None and bool(work_dir.metered_bytes))


def to_evict(standing: Standing, seconds_per_gb: Mapping[str, float]) -> list[Execution]:
    """The executions to evict until the budget fits, the cheapest to compute again per GB first.

    `seconds_per_gb`: seconds of task time per GB that computing again would take, by execution id. An
    execution that is not in it is not evicted.
    """
    staying = list(standing.members)
    going: list[Execution] = []
    candidates = sorted((e for e in standing.members if e.id in seconds_per_gb and may_be_evicted(e)),
                        key=lambda e: (seconds_per_gb[e.id], e.id))
    for execution in candidates:
        if standing.share_of(staying) <= 1:
            break
        staying.remove(execution)
        going.append(execution)
    return going
