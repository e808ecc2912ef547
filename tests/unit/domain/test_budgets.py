"""Budgets: which settings are valid, how far they are used, and what is evicted first."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfresume.domain.budgets import Budget, Standing, WhenFull, may_be_evicted, parse, standings, to_evict
from nfresume.domain.costs import GB, Price
from nfresume.domain.executions import Execution, ExecutionState
from nfresume.domain.workdirs import WorkDir, WorkDirState
from tests.outcomes import pinned, until

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def retained(
    name: str, gigabytes: float = 1, account: str = "team", root: str = "r", **work_dir
) -> Execution:
    """A failed execution whose work dir is retained."""
    values = {"state": WorkDirState.RETAINED, "metered_bytes": int(gigabytes * GB), "files": 10,
              "directories": 2, "keep": until(NOW)}
    return Execution(
        name, account, "main.nf", "/here", root, name, ExecutionState.FAILED, 1, 5.0, "test", NOW, NOW,
        WorkDir("/w", **{**values, **work_dir}))


def standing(budget: Budget, *executions: Execution) -> Standing:
    [found] = standings([budget], executions, {"r": "/efs"}, lambda _: Price(NOW, Decimal("0.30")))
    return found


def test_budgets_from_toml_and_from_the_environment():
    """Sizes have units and money is decimal. In the environment the tables are JSON."""
    table = {"account": "*", "root": "/efs", "bytes": "2 TB", "objects": 5_000_000, "cost_per_month": 99.5,
             "when_full": "evict"}
    [budget] = parse([table])
    assert (budget.bytes, budget.root, budget.when_full) == (2 * 10**12, Path("/efs"), WhenFull.EVICT)
    assert budget.cost_per_month == Decimal("99.5")
    assert parse(json.dumps([table])) == (budget,)
    assert str(budget) == ("account * on /efs: 2,000,000,000,000 bytes, 5,000,000 objects, 99.5 a month, "
                           "at the limit evict")


@pytest.mark.parametrize(("bad", "says"), [
    ([{"account": "a"}], "no limit"), ([{"bytes": "much"}], "could not parse"),
    ([{"bytes": 0}], "more than 0"),
    ([{"bytes": 1, "when_full": "explode"}], "when_full"), ([{"byte": 1}], "byte"), ("{}", "list of tables"),
    ([{"bytes": 1, "warn_at": 2}], "warn_at"), ([{"objects": "x"}], "objects"), (["x"], "list of tables"),
])
def test_what_is_no_budget_is_refused(bad: object, says: str):
    """The error is one line that names the field."""
    with pytest.raises(ValueError, match=says) as caught:
        parse(bad)
    assert "\n" not in str(caught.value)


def test_whose_budget():
    """A budget is for all accounts, one or each, on one root or all. Only retained work dirs count."""
    mine, other = retained("a", 1), retained("b", 2, "other")
    elsewhere, active = retained("c", 4, root="s"), retained("d", 8, state=WorkDirState.ACTIVE)
    everything = [mine, other, elsewhere, active]

    def used(**scope) -> dict[str, float]:
        found = standings([Budget(bytes=10 * GB, **scope)], everything, {"r": "/efs", "s": "/nfs"},
                          lambda _: Price(NOW, Decimal("0.30")))
        return {s.name: s.share for s in found}

    assert used() == {"all accounts": 0.7}
    assert used(account="team") == {"account team": 0.5}
    assert used(account="*") == {"account team": 0.5, "account other": 0.2}
    assert used(root=Path("/efs")) == {"all accounts on /efs": 0.3}
    assert used(account="*", root=Path("/nfs")) == {"account team on /nfs": 0.4}


def test_the_tightest_limit_counts():
    """Bytes, objects and cost each have a used share. The largest is the budget's."""
    budget = Budget(bytes=4 * GB, objects=100, cost_per_month=Decimal("0.50"))
    found = standing(budget, retained("a"))
    assert found.share == pytest.approx(0.6)
    assert "60% of the budget of all accounts" in str(found)


def test_the_cheapest_to_compute_again_goes_first():
    """Work dirs are evicted by task time per GB, and no more of them than needed."""
    executions = [retained("dear", 5), retained("cheap", 2), retained("middle", 2)]
    full = standing(Budget(bytes=6 * GB), *executions)
    rates = {"dear": 900.0, "cheap": 1.0, "middle": 10.0}
    assert [e.id for e in to_evict(full, rates)] == ["cheap", "middle"]
    roomy = standing(Budget(bytes=8 * GB), *executions)
    assert [e.id for e in to_evict(roomy, rates)] == ["cheap"]
    assert to_evict(standing(Budget(bytes=9 * GB), *executions), rates) == []


candidates = st.lists(st.builds(
    lambda number, size, rate, pin, held, known: (
        retained(f"e{number}", size, keep=pinned() if pin else until(None if held else NOW)), rate, known),
    st.integers(0, 99), st.integers(0, 9), st.floats(0, 100), st.booleans(), st.booleans(), st.booleans(),
), max_size=12, unique_by=lambda c: c[0].id)


@given(candidates=candidates, limit=st.integers(1, 40))
def test_eviction_never_takes_what_must_stay(candidates, limit):
    """Nothing pinned, held or of unknown task time is evicted. The rest fits, or cannot be evicted."""
    executions = [execution for execution, _, _ in candidates]
    rates = {execution.id: rate for execution, rate, known in candidates if known}
    if not executions:
        return
    full = standing(Budget(bytes=limit * GB), *executions)
    going = to_evict(full, rates)
    assert all(may_be_evicted(e) and e.id in rates and not e.work_dir.pinned and e.work_dir.expires_at
               for e in going)
    left = [e for e in executions if e not in going]
    assert full.share_of(left) <= 1 or not [e for e in left if may_be_evicted(e) and e.id in rates]
    assert [rates[e.id] for e in going] == sorted(rates[e.id] for e in going)
    if going:
        assert full.share_of([*left, going[-1]]) > 1


def test_what_may_go():
    """Only a retained, measured work dir with an expiry may be evicted."""
    fine = retained("a")
    assert may_be_evicted(fine)
    for change in ({"keep": pinned()}, {"keep": until(None)}, {"metered_bytes": None},
                   {"state": WorkDirState.ACTIVE}, {"state": WorkDirState.DELETING}):
        assert not may_be_evicted(replace(fine, work_dir=replace(fine.work_dir, **change)))
    assert may_be_evicted(retained("b", keep=until(NOW - timedelta(1))))
