"""Metered bytes and the price of keeping them."""

from decimal import Decimal

import pytest

from nfresume.costs import GB, cost_per_month, cost_until, metered_bytes


@pytest.mark.parametrize(("size", "metered"), [(0, 2048), (1, 6144), (4096, 6144), (4097, 10240)])
def test_metered_bytes_follow_efs(size, metered):
    """2 KiB per object, data rounded up to 4 KiB."""
    assert metered_bytes(size) == metered


def test_the_check_value_of_aws():
    """100 GB for 15 days and 250 GB for 16 days of March: 177 GB-months, 53.10 USD at 0.30."""
    gb_hours = 100 * 24 * 15 + 250 * 24 * 16
    assert gb_hours == 132_000
    gb_months = Decimal(gb_hours) / (31 * 24)
    assert round(gb_months) == 177
    assert round(cost_per_month(177 * GB, Decimal("0.30")), 2) == Decimal("53.10")


def test_cost_until_is_proportional():
    """Half a month costs half."""
    assert cost_until(GB, 365, Decimal("0.30")) == Decimal("0.15")
