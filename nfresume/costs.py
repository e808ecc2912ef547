"""What retained storage costs. Pure.

Metered bytes follow AWS EFS ("Metering Amazon EFS file system objects"): every object counts 2 KiB of
metadata, and data is rounded up to 4 KiB; a symlink or special file has 4 KiB of data, a directory what
its entries take, at least 4 KiB. A GB-month is 2**30 bytes for the hours
of the month; a rate per month uses 730 hours, as AWS's own calculators do.
"""

from __future__ import annotations

from decimal import Decimal

OBJECT_BYTES = 2048
DATA_STEP = 4096
GB = 2**30
HOURS_PER_MONTH = 730

#: USD per GB-month: EFS Standard in us-east-1, list price of 2025-01.
DEFAULT_PRICE = Decimal("0.30")


def metered_bytes(size: int) -> int:
    """Bytes that EFS meters for one object with `size` bytes of data."""
    return OBJECT_BYTES + -(-size // DATA_STEP) * DATA_STEP


def cost_per_month(metered: int, price: Decimal) -> Decimal:
    """Cost of keeping `metered` bytes for one month, in the price's currency (per GB-month)."""
    return Decimal(metered) / GB * price


def cost_until(metered: int, hours: float, price: Decimal) -> Decimal:
    """Cost of keeping `metered` bytes for `hours`."""
    return cost_per_month(metered, price) * Decimal(hours) / HOURS_PER_MONTH
