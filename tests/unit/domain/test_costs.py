"""Metered bytes and the cost of keeping them."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfresume.domain.costs import GB, Price, Sample, Usage, break_even_hours, cost_until, metered_bytes, usage


@pytest.mark.parametrize(("size", "metered"), [(0, 2048), (1, 6144), (4096, 6144), (4097, 10240)])
def test_metered_bytes_follow_efs(size, metered):
    """2 KiB per object, data rounded up to 4 KiB."""
    assert metered_bytes(size) == metered


def test_the_check_value_of_aws():
    """100 GB for 15 days and 250 GB for 16 days of March: 132,000 GB-hours, 177 GB-months, 53.10 USD."""
    march = datetime(2026, 3, 1, tzinfo=UTC)
    samples = [Sample(march, 100 * GB), Sample(march + timedelta(days=15), 250 * GB)]
    used = usage(samples, [Price(march, Decimal("0.30"))], march, datetime(2026, 4, 1, tzinfo=UTC))
    assert used.gb_hours == 132_000
    assert round(used.gb_months) == 177
    assert round(round(used.gb_months) * Decimal("0.30"), 2) == Decimal("53.10")
    assert round(used.cost(), 2) == Decimal("53.23")  # AWS rounds to 177 before it multiplies


def test_cost_until_is_proportional():
    """Half a month costs half."""
    assert cost_until(GB, 365, Decimal("0.30")) == Decimal("0.15")


START = datetime(2025, 12, 1, tzinfo=UTC)
moments = st.integers(0, 120 * 86_400).map(lambda seconds: START + timedelta(seconds=seconds))
ledgers = st.lists(st.builds(Sample, moments, st.integers(0, 10 * GB)), max_size=8)
price_lists = st.lists(st.builds(Price, moments, st.decimals(0, 1, places=3)), max_size=3)


@given(samples=ledgers, prices=price_lists, edges=st.lists(moments, min_size=2, max_size=5))
def test_splitting_a_period_never_changes_its_sum(samples, prices, edges):
    """A report by day and a report by year agree to the last digit."""
    edges = sorted(edges)
    whole = usage(samples, prices, edges[0], edges[-1])
    parts = sum((usage(samples, prices, a, b) for a, b in pairwise(edges)), Usage())
    assert whole == parts
    assert whole.costs == parts.costs


@given(samples=ledgers, prices=price_lists, data=st.data())
def test_the_order_of_samples_does_not_matter(samples, prices, data):
    """Samples that are repeated or arrive late change nothing."""
    end = START + timedelta(days=120)
    shuffled = data.draw(st.permutations(samples))
    assert usage(samples, prices, START, end) == usage([*shuffled, *samples], prices, START, end)


@given(samples=ledgers, later=st.decimals(0, 9, places=2))
def test_a_new_price_leaves_the_past_alone(samples, later):
    """Usage before a new price keeps its cost."""
    closed = START + timedelta(days=60)
    first = Price(START, Decimal("0.30"))
    before = usage(samples, [first], START, closed)
    assert usage(samples, [first, Price(closed, later)], START, closed) == before


def test_months_are_calendar_months():
    """A GB for the whole of February is a GB-month, as it is for the whole of March."""
    samples = [Sample(datetime(2026, 2, 1, tzinfo=UTC), GB)]
    both = usage(samples, [], datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC))
    assert (both.gb_months, both.cost()) == (2, 0)


def test_break_even():
    """Ten CPU-hours at 0.05 USD cost as much as keeping 73 GB for 1.67 hours at 3 USD per GB-month."""
    hours = break_even_hours(timedelta(hours=10), Decimal("0.05"), 73 * GB, Decimal("3"))
    assert round(hours, 2) == Decimal("1.67")
    assert break_even_hours(timedelta(hours=10), Decimal("0.05"), 0, Decimal("3")) is None
