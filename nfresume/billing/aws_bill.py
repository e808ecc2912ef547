"""What AWS billed for a root's file system beside what the ledger says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from nfresume.billing import aws, pricing, usage
from nfresume.billing.aws import Bill
from nfresume.billing.usage import Groups
from nfresume.domain import periods
from nfresume.domain.costs import Usage
from nfresume.domain.errors import AwsUnavailable, UsageError
from nfresume.domain.periods import Period
from nfresume.settings import Settings
from nfresume.store import Store


@dataclass(frozen=True)
class Compared:
    """What AWS billed for EFS storage in the region, and what the ledger says of the root, the same days."""

    bill: Bill
    usage: Usage

    @property
    def difference(self) -> Decimal:
        """Billed, but not for work dirs: other data, other file systems; negative: not billed (yet)."""
        return self.bill.amount - self.usage.cost(self.bill.currency)


def compare(store: Store, conf: Settings, chosen: Callable[[datetime], Period]) -> Compared:
    """The bill beside the ledger, over the whole days of a period. Raises UsageError or AwsUnavailable."""
    file_system = pricing.of(conf)
    if file_system is None:
        raise AwsUnavailable(f"{conf.root} is not on EFS, as far as its mount tells",
                             "set efs_file_system to the id or ARN of its file system")
    with store.begin(write=False) as tx:
        asked = chosen(tx.now)
    known = usage.read(store, conf, None, asked.end)
    whole = _whole_days(Period(max(asked.start, periods.midnight(known.begun)), asked.end))
    groups = Groups(known, whole)
    for execution in known.executions.values():
        if execution.root_id == known.root_id:
            groups.add("", execution)
    bill = aws.bill(file_system, whole.start.date(), whole.end.date())
    return Compared(bill, groups.usage().get("", Usage()))


def _whole_days(span: Period) -> Period:
    days = [day for day in periods.days(span) if day.end - day.start == timedelta(days=1)]
    if not days:
        raise UsageError("AWS bills whole days (UTC), and the ledger has none in this period", "--since 7d")
    return Period(days[0].start, days[-1].end)
