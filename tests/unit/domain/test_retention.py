"""Retention: whether a work dir is kept, until when, and why."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfresume.domain.executions import Execution, ExecutionState
from nfresume.domain.retention import (
    MAX_HOURS,
    Decision,
    Hold,
    after_attempt,
    check_hours,
    given_up,
    is_due,
    plan,
)
from nfresume.domain.workdirs import Keep, KeepKind, OnSuccess, RemovalProgress, WorkDir, WorkDirState
from tests.outcomes import pinned, until

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def execution(state=WorkDirState.RETAINED, keep: Keep | None = None, **kw) -> Execution:
    return Execution(
        id="x-1", account="a", pipeline="p", launch_dir="/l", root_id="r", session_id="s",
        state=ExecutionState.FAILED, attempt=1, storage_expiration_hours=1, storage_expiration_source="t",
        created_at=NOW, updated_at=NOW, work_dir=WorkDir("/w", state, keep, **kw),
    )


def after(
    state=ExecutionState.FAILED, hours: float = 1, *, keep: Keep | None = None, doubt: Hold | None = None,
    unsafe: Hold | None = None, now: datetime = NOW, **kw,
) -> Decision:
    return after_attempt(state, hours, keep=keep, doubt=doubt, unsafe=unsafe, now=now, **kw)


def kind_and_time(decision: Decision) -> tuple[KeepKind, datetime | None] | None:
    return (decision.keep.kind, decision.keep.until) if decision.keep else None


SUCCEEDED, FAILED, CANCELLED = ExecutionState.SUCCEEDED, ExecutionState.FAILED, ExecutionState.CANCELLED
HOUR = timedelta(hours=1)
LATER = NOW + 720 * HOUR
EXTENDED = Keep(KeepKind.EXTENDED, "me asked to keep it", LATER, "me")


def test_success_deletes_at_once():
    """After a success the work dir is not kept, whatever the hours."""
    assert after(SUCCEEDED, 99).keep is None


@pytest.mark.parametrize("state", [FAILED, CANCELLED])
def test_failure_keeps_for_the_hours(state):
    """After a failure or cancellation the work dir is kept until now + hours, to the microsecond."""
    assert kind_and_time(after(state, 1.5)) == (KeepKind.RULE, NOW + timedelta(minutes=90))


def test_zero_hours_keeps_nothing():
    """0 hours means: not kept."""
    assert after(hours=0).keep is None


@pytest.mark.parametrize("state", [SUCCEEDED, FAILED])
@pytest.mark.parametrize("hours", [0, 5])
def test_a_pin_stays(state, hours):
    """A pinned work dir stays pinned, whatever the outcome, and says of a doubt."""
    assert after(state, hours, keep=pinned()).keep == pinned()
    doubtful = after(state, hours, keep=pinned(), doubt=Hold("in doubt"))
    assert (doubtful.keep, doubtful.reason) == (pinned(), "in doubt")


@pytest.mark.parametrize("state", [SUCCEEDED, FAILED])
def test_what_would_be_lost_is_held(state):
    """A work dir that would be deleted is held when results are at risk, and is looked at again soon."""
    decision = after(state, 0, unsafe=Hold("results at risk"))
    assert kind_and_time(decision) == (KeepKind.HELD, None)
    assert decision.look_again_at == NOW + timedelta(minutes=1)
    assert after(state, 0, unsafe=Hold("it needs a person", passing=False)).look_again_at is None


def test_what_is_kept_anyway_is_not_held():
    """Results that cannot be secured yet change nothing about a failure that is kept for its hours."""
    decision = after(unsafe=Hold("results at risk"))
    assert kind_and_time(decision) == (KeepKind.RULE, NOW + HOUR)
    assert decision.look_again_at is None


def test_a_doubt_holds_and_never_shortens():
    """An end in doubt is held; it is not looked at before the rule's or a person's own time."""
    assert after(hours=5, doubt=Hold("?")).look_again_at == NOW + 5 * HOUR
    assert after(hours=0, doubt=Hold("?")).look_again_at == NOW + timedelta(minutes=1)
    assert after(hours=5, keep=EXTENDED, doubt=Hold("?")).look_again_at == LATER
    assert kind_and_time(after(hours=5, doubt=Hold("?", passing=False))) == (KeepKind.HELD, None)
    assert after(hours=5, doubt=Hold("?", passing=False)).look_again_at is None


@pytest.mark.parametrize("state", [SUCCEEDED, FAILED, CANCELLED])
@pytest.mark.parametrize("hours", [0, 1, 5000])
def test_a_relaunch_never_shortens_what_a_person_asked_for(state, hours):
    """extend 720, then a relaunch that ends at once: kept until then, or longer when the rule says so."""
    found = kind_and_time(after(state, hours, keep=EXTENDED))
    longer = hours == 5000 and state is not SUCCEEDED
    assert found == ((KeepKind.RULE, NOW + 5000 * HOUR) if longer else (KeepKind.EXTENDED, LATER))


def test_a_wish_whose_time_has_come_is_over():
    """What was asked for until an hour ago counts no more."""
    past = Keep(KeepKind.EXTENDED, "asked", NOW - HOUR, "me")
    assert kind_and_time(after(hours=2, keep=past)) == (KeepKind.RULE, NOW + 2 * HOUR)
    assert after(hours=0, keep=past).keep is None


def test_a_hold_outlives_a_failed_relaunch_and_ends_with_a_success():
    """A hold stays through a relaunch that fails; a success has published everything again."""
    held = until(None, "1 result at risk")
    assert kind_and_time(after(hours=0, keep=held)) == (KeepKind.HELD, None)
    assert after(hours=0, keep=held).reason == "1 result at risk"
    assert after(SUCCEEDED, keep=held).keep is None


@given(
    state=st.sampled_from([SUCCEEDED, FAILED, CANCELLED]), hours=st.floats(0, MAX_HOURS),
    keep=st.sampled_from([None, EXTENDED, pinned(), until(None)]), doubt=st.booleans(), unsafe=st.booleans(),
    passing=st.booleans(), on_success=st.sampled_from(OnSuccess), refused=st.sampled_from([None, "full"]),
)
def test_no_wish_is_shortened(state, hours, keep, doubt, unsafe, passing, on_success, refused):
    """Whatever happens: nothing is deleted, or looked at, before the time that a person asked for."""
    hold = Hold("x", passing=passing)
    found = after(state, hours, keep=keep, doubt=hold if doubt else None, unsafe=hold if unsafe else None,
                  on_success=on_success, refused=refused)
    if keep == pinned():
        assert found.keep == keep
    if keep == EXTENDED:
        assert found.keep is not None
        assert found.keep.until is None or found.keep.until >= LATER
        assert found.look_again_at is None or found.look_again_at >= LATER
    if doubt and keep is None:
        assert found.keep is not None
        assert found.keep.kind is KeepKind.HELD
    if unsafe:
        assert found.keep is not None
    assert found.reason


@given(hours=st.floats(0.01, MAX_HOURS), zone=st.integers(-14, 14))
def test_expiry_is_exact_in_utc_hours(hours, zone):
    """Case 53: the time zone of `now` and daylight saving time do not change the hours."""
    local = NOW.astimezone(timezone(timedelta(hours=zone)))
    one, two = after(hours=hours).keep, after(hours=hours, now=local).keep
    assert one is not None
    assert two is not None
    assert one.until == two.until == NOW + timedelta(hours=hours)


def test_daylight_saving_does_not_shorten_a_day():
    """Case 53: 24 hours over the spring change in New York are 24 hours, not 23."""
    eve = datetime(2026, 3, 7, 20, tzinfo=ZoneInfo("America/New_York")).astimezone(UTC)
    found = after(hours=24, now=eve).keep
    assert found is not None
    assert found.until is not None
    assert (found.until - eve) == timedelta(hours=24)


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


def test_due_only_when_retained_and_past():
    """Nothing but a retained work dir past its time is due; a pinned one never is."""
    past, future = NOW - timedelta(seconds=1), NOW + timedelta(seconds=1)

    def due(state=WorkDirState.RETAINED, keep: Keep | None = None, **kw) -> bool:
        return is_due(WorkDir("/w", state, keep, **kw), NOW)

    assert due(keep=until(past))
    assert due(keep=until(NOW))
    assert not due(keep=until(future))
    assert not due(keep=until(past), look_again_at=future)
    assert due(keep=until(past), look_again_at=past)
    assert not due(keep=pinned())
    assert not due(keep=until(None))
    assert not due(keep=until(None), look_again_at=future)
    assert due(keep=until(None), look_again_at=past)
    assert not due()
    for state in set(WorkDirState) - {WorkDirState.RETAINED}:
        assert not due(state, until(past), look_again_at=past)


def test_plan_names_action_and_reason():
    """A sweep's plan is what a dry run prints: one action and one reason per work dir."""
    lines = plan(
        [
            execution(keep=until(NOW)),
            execution(keep=until(NOW + HOUR)),
            execution(keep=pinned()),
            execution(WorkDirState.DELETING, reason="expired"),
            execution(WorkDirState.DELETING, reason="blocked", look_again_at=NOW + HOUR),
            execution(keep=until(None, "1 published result would be lost")),
            execution(keep=until(None, "results at risk"), look_again_at=NOW),
            execution(WorkDirState.ACTIVE),
        ],
        NOW,
    )
    assert [line.action for line in lines] == [
        "delete", "keep", "keep", "continue", "keep", "keep", "delete", "keep"]
    assert all(line.reason for line in lines)


def test_a_deletion_that_is_given_up():
    """It is held, and tried again after a minute, two, four, up to a day; a time that is to come stays."""
    waits, work_dir = [], WorkDir("/w", WorkDirState.DELETING, until(NOW - HOUR))
    for looks in range(14):
        found = given_up(Hold("not mounted"), replace(work_dir, looks=looks), NOW)
        assert kind_and_time(found) == (KeepKind.HELD, None)
        assert found.look_again_at is not None
        waits.append((found.look_again_at - NOW) // timedelta(minutes=1))
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1440, 1440, 1440]
    kept = given_up(Hold("not mounted"), replace(work_dir, keep=EXTENDED), NOW)
    assert (kept.keep, kept.look_again_at) == (EXTENDED, NOW + timedelta(minutes=1))
    assert given_up(Hold("old backup?", passing=False), work_dir, NOW).look_again_at is None


def test_kept_after_a_success_when_asked():
    """--on-success keep: kept for storage_expiration_hours, as after a failure. 0 hours: not kept."""
    assert kind_and_time(after(SUCCEEDED, 5, on_success=OnSuccess.KEEP)) == (KeepKind.RULE, NOW + 5 * HOUR)
    assert after(SUCCEEDED, 0, on_success=OnSuccess.KEEP).keep is None


def test_progress_of_a_removal():
    """Rate and remaining time are computed from what was removed. They are None while that is unknown."""
    gone = RemovalProgress(files=300, seconds=3.0)
    assert gone.files_per_second == 100
    assert (gone.remaining_files(1000), gone.remaining_seconds(1000)) == (700, 7.0)
    assert (gone.remaining_files(None), gone.remaining_seconds(None)) == (None, None)
    assert RemovalProgress().remaining_seconds(1000) is None
    assert gone.remaining_files(200) == 0  # there were more files than were measured
