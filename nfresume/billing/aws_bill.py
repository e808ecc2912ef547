"""What AWS billed for EFS, compared with the usage that nfresume measured."""

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
class Comparison:
    """AWS's bill for EFS storage in the region, and the root's usage over the same days."""

    bill: Bill
    usage: Usage

    @property
    def difference(self) -> Decimal:
        """What AWS billed beyond work dirs and caches: for other data. Negative: not billed yet."""
        return self.bill.amount - self.usage.cost(self.bill.currency)


def compare(store: Store, conf: Settings, choose_period: Callable[[datetime], Period]) -> Comparison:
    """Compare bill and usage over the whole days of a period. `choose_period` makes the period from now.

    Raises UsageError when the period has no whole day, AwsUnavailable when the root is not on EFS or AWS
    cannot be asked.
    """
    file_system = pricing.file_system_of(conf)
    if file_system is None:
        raise AwsUnavailable(f"{conf.root} is not on EFS, as far as its mount tells",
                             "set efs_file_system to the id or ARN of its file system")
    with store.begin(write=False) as tx:
        period = choose_period(tx.now)
    ledger = usage.read(store, conf, None, period.end)
    whole = _whole_days(Period(max(period.start, periods.midnight(ledger.first_sample_at)), period.end))
    groups = Groups(ledger, whole)
    for holder in ledger.holders:
        if holder.root_id == ledger.root_id:
            groups.add("", holder)
    bill = aws.bill(file_system, whole.start.date(), whole.end.date())
    return Comparison(bill, groups.usage().get("", Usage()))


def _whole_days(span: Period) -> Period:
    days = [day for day in periods.days(span) if day.end - day.start == timedelta(days=1)]
    if not days:
        raise UsageError("AWS bills whole days (UTC), and there is no measured whole day in this period",
                         "--since 7d")
    return Period(days[0].start, days[-1].end)
