"""Retention: whether a work dir is kept, until when, and why."""

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfresume.domain.executions import Execution, ExecutionState
from nfresume.domain.retention import MAX_HOURS, after_attempt, check_hours, is_due, plan
from nfresume.domain.workdirs import OnSuccess, RemovalProgress, WorkDir, WorkDirState

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def execution(state=WorkDirState.RETAINED, *, ended=ExecutionState.FAILED, **kw) -> Execution:
    return Execution(
        id="x-1", account="a", pipeline="p", launch_dir="/l", root_id="r", session_id="s", state=ended,
        attempt=1, storage_expiration_hours=1, storage_expiration_source="t", created_at=NOW, updated_at=NOW,
        work_dir=WorkDir("/w", state, **kw),
    )


def test_success_deletes_at_once():
    """After a success the work dir is not kept, whatever the hours."""
    decision = after_attempt(ExecutionState.SUCCEEDED, 99, pinned=False, held=None, now=NOW)
    assert (decision.keep, decision.expires_at) == (False, None)


@pytest.mark.parametrize("state", [ExecutionState.FAILED, ExecutionState.CANCELLED])
def test_failure_keeps_for_the_hours(state):
    """After a failure or cancellation the work dir is kept until now + hours, to the microsecond."""
    decision = after_attempt(state, 1.5, pinned=False, held=None, now=NOW)
    assert decision.keep
    assert decision.expires_at == NOW + timedelta(minutes=90)


def test_zero_hours_keeps_nothing():
    """0 hours means: not kept."""
    assert not after_attempt(ExecutionState.FAILED, 0, pinned=False, held=None, now=NOW).keep


@pytest.mark.parametrize("state", [ExecutionState.SUCCEEDED, ExecutionState.FAILED])
def test_pinned_and_held_have_no_expiry(state):
    """A pinned or held work dir is kept until a person decides, also with 0 hours."""
    for pinned, held in ((True, None), (False, "results at risk"), (True, "both")):
        decision = after_attempt(state, 0, pinned=pinned, held=held, now=NOW)
        assert decision.keep
        assert decision.expires_at is None


@given(hours=st.floats(0.01, MAX_HOURS), zone=st.integers(-14, 14))
def test_expiry_is_exact_in_utc_hours(hours, zone):
    """Case 53: the time zone of `now` and daylight saving time do not change the hours."""
    local = NOW.astimezone(timezone(timedelta(hours=zone)))
    one = after_attempt(ExecutionState.FAILED, hours, pinned=False, held=None, now=NOW).expires_at
    two = after_attempt(ExecutionState.FAILED, hours, pinned=False, held=None, now=local).expires_at
    assert one == two == NOW + timedelta(hours=hours)


def test_daylight_saving_does_not_shorten_a_day():
    """Case 53: 24 hours over the spring change in New York are 24 hours, not 23."""
    eve = datetime(2026, 3, 7, 20, tzinfo=ZoneInfo("America/New_York")).astimezone(UTC)
    until = after_attempt(ExecutionState.FAILED, 24, pinned=False, held=None, now=eve).expires_at
    assert until is not None
    assert (until - eve) == timedelta(hours=24)


@pytest.mark.parametrize(("given_", "hours"), [(0, 0), (7, 7), ("7", 7), (0.5, 0.5), ("1e3", 1000)])
def test_hours_accepted(given_, hours):
    """Numbers and numeric strings are hours."""
    assert check_hours(given_) == hours


@pytest.mark.parametrize(
    "bad", [-1, "-0.1", float("nan"), "nan", float("inf"), 1e9, "soon", "", None, True, [1], "1h"]
)
def test_hours_refused(bad):
    """Case 54: negative, NaN, infinite, absurd and non-numeric hours are refused by name."""
    with pytest.raises(ValueError, match="storage_expiration_hours"):
        check_hours(bad)


def test_due_only_when_retained_unpinned_and_past():
    """Nothing but a retained, unpinned work dir past its expiry is due."""
    past, future = NOW - timedelta(seconds=1), NOW + timedelta(seconds=1)
    assert is_due(execution(expires_at=past), NOW)
    assert is_due(execution(expires_at=NOW), NOW)
    assert not is_due(execution(expires_at=future), NOW)
    assert not is_due(execution(expires_at=past, pinned=True), NOW)
    assert not is_due(execution(), NOW)
    for state in set(WorkDirState) - {WorkDirState.RETAINED}:
        assert not is_due(execution(state, expires_at=past), NOW)


def test_plan_names_action_and_reason():
    """A sweep's plan is what a dry run prints: one action and one reason per work dir."""
    lines = plan(
        [
            execution(expires_at=NOW),
            execution(expires_at=NOW + timedelta(hours=1)),
            execution(pinned=True),
            execution(WorkDirState.DELETING, reason="expired"),
            execution(reason="1 published result would be lost"),
            execution(ended=ExecutionState.SUCCEEDED, reason="results at risk"),
        ],
        NOW,
    )
    assert [line.action for line in lines] == ["delete", "keep", "keep", "continue", "keep", "recheck"]
    assert all(line.reason for line in lines)


def test_kept_after_a_success_when_asked():
    """--on-success keep: kept for storage_expiration_hours, as after a failure. 0 hours: not kept."""
    def keep(hours: float):
        return after_attempt(ExecutionState.SUCCEEDED, hours, pinned=False, held=None, now=NOW,
                             on_success=OnSuccess.KEEP)

    assert (keep(5).keep, keep(5).expires_at) == (True, NOW + timedelta(hours=5))
    assert not keep(0).keep


def test_progress_of_a_removal():
    """Rate and remaining time are computed from what was removed. They are None while that is unknown."""
    gone = RemovalProgress(files=300, seconds=3.0)
    assert gone.files_per_second == 100
    assert (gone.remaining_files(1000), gone.remaining_seconds(1000)) == (700, 7.0)
    assert (gone.remaining_files(None), gone.remaining_seconds(None)) == (None, None)
    assert RemovalProgress().remaining_seconds(1000) is None
    assert gone.remaining_files(200) == 0  # there were more files than were measured
