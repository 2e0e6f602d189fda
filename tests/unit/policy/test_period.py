"""Which stretch of time a report tells of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.period import DAY, MOST_BARS, WEEK, Period, bars, days_until, week_before
from tonewatch.errors import SettingsError

MONDAY = datetime(2026, 6, 29, tzinfo=UTC)
moments = st.integers(0, 36_500 * 86_400).map(
    lambda seconds: datetime(2000, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
)


@given(moments)
def test_the_week_before_is_whole_over_and_the_newest_such(as_of: datetime) -> None:
    week = week_before(as_of)
    assert week.end <= as_of < week.end + WEEK
    assert week.end - week.start == WEEK
    assert week.week == week.start.isocalendar()[:2]


@pytest.mark.parametrize(
    ("as_of", "key"),
    [
        (datetime(2026, 7, 6, tzinfo=UTC), "week-2026-W27"),
        (datetime(2026, 7, 6, 1, tzinfo=timezone(timedelta(hours=2))), "week-2026-W26"),
        (datetime(2021, 1, 5, tzinfo=UTC), "week-2020-W53"),
        (datetime(2024, 1, 8, tzinfo=UTC), "week-2024-W01"),
    ],
)
def test_weeks_are_those_of_iso_in_utc(as_of: datetime, key: str) -> None:
    assert week_before(as_of).key == key


@given(moments, st.floats(0.001, 366))
def test_days_end_where_they_are_asked_to(until: datetime, days: float) -> None:
    period = days_until(days, until)
    assert period.end == until.replace(microsecond=0)
    assert abs(period.seconds - days * 86_400) <= 0.5


def test_seven_days_from_another_day_are_no_week() -> None:
    assert days_until(7, MONDAY + DAY).key == "days-20260623T000000Z-20260630T000000Z"
    assert days_until(7, MONDAY).key == "week-2026-W26"


@pytest.mark.parametrize("days", [0.0, -1.0, 367.0, float("nan"), float("inf")])
def test_no_days_and_too_many_are_refused(days: float) -> None:
    with pytest.raises(SettingsError, match="is no number of days"):
        days_until(days, MONDAY)


def test_a_time_without_its_zone_is_refused() -> None:
    with pytest.raises(SettingsError, match="has no zone"):
        week_before(datetime(2026, 7, 6))  # noqa: DTZ001 - that is what is tested


@given(st.floats(0.01, 366), st.sampled_from([90.0, 3600.0, 86_400.0]))
def test_bars_cover_the_period_without_gap_or_overlap(days: float, day_seconds: float) -> None:
    period = days_until(days, MONDAY)
    made = bars(period, day_seconds)
    assert (made[0].start, made[-1].end) == (period.start, period.end)
    assert all(before.end == after.start for before, after in pairwise(made))
    assert 1 <= len(made) <= MOST_BARS


def test_bars_are_the_platform_s_days_as_long_as_they_can_be_told_apart() -> None:
    demo = Period(MONDAY, MONDAY + timedelta(seconds=630))
    assert len(bars(demo, 90)) == 7
    assert len(bars(Period(MONDAY, MONDAY + WEEK), 90)) == 7
    assert len(bars(Period(MONDAY, MONDAY + 30 * DAY), 86_400)) == 30
    assert len(bars(Period(MONDAY, MONDAY + 366 * DAY), 86_400)) == 53
