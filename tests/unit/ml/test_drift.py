from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from ml.drift import ALPHA, Judged, Verdict, holm, judge
from ml.drift_days import Aspect, Rows, daily, hourly, without

Floats = npt.NDArray[np.float64]
DAY = 86_400_000_000
WINDOWS = 96
#: A Monday, at midnight; a check at ten in the morning.
MONDAY = 1_767_571_200_000_000
CHECK = MONDAY + 31 * DAY + 10 * DAY // 24
FLOORS = (0.1, 0.1)


def telemetry(seed: int = 1, days: int = 32, entities: int = 2, memory: float = 0.95) -> tuple[Rows, Floats]:
    """Two features of so many days from the Monday on, quarter of an hour by quarter of an hour: one with day, week
    and noise with a memory, one with noise alone. With the rows, days since the Monday (rows,).
    """
    chance = np.random.default_rng(seed)
    count = days * WINDOWS
    noise = np.empty((entities, count, 2))
    noise[:, 0] = chance.standard_normal((entities, 2))
    for at in range(1, count):
        shock = chance.standard_normal((entities, 2))
        noise[:, at] = memory * noise[:, at - 1] + np.sqrt(1 - memory**2) * shock
    since = (np.arange(count) + 1) / WINDOWS
    free = (np.ceil(since).astype(int) - 1) % 7 >= 5
    noise[:, :, 0] += np.where(free, 1.5, 3.0) * np.sin(2 * np.pi * since) - np.where(free, 2.0, 0.0)
    times = MONDAY + np.rint(since * DAY).astype(np.int64)
    places = np.repeat(np.arange(entities), count)
    return Rows(places, np.tile(times, entities), noise.reshape(-1, 2)), np.tile(since, entities)


def judged(rows: Rows, end: int = CHECK, days: int = 29) -> Judged:
    return judge(hourly(rows, end, DAY, days), ("seasonal", "plain"), FLOORS)


def at(found: Judged, feature: str, aspect: Aspect) -> Verdict:
    return next(shift.verdict for shift in found.shifts if (shift.feature, shift.aspect) == (feature, aspect))


def test_a_season_is_no_drift() -> None:
    """A Sunday is not a Monday, and the morning no evening: neither is told as drift, whenever one looks."""
    rows, _ = telemetry()
    said = {judged(rows, CHECK - quarter * DAY // 4).verdict for quarter in range(12)}
    assert said == {Verdict.STEADY}


def test_noise_with_a_long_memory_is_no_drift() -> None:
    """Neighbouring windows say the same again; who counts them all is sure of what is chance."""
    alarms = [judged(telemetry(seed, memory=0.995)[0]).verdict is Verdict.DRIFT for seed in range(12)]
    assert not any(alarms)


def test_a_holiday_is_no_drift() -> None:
    """A working day that runs like a Sunday."""
    rows, since = telemetry()
    values = rows.values.copy()
    holiday = (since > 30) & (since <= 31)
    season = np.sin(2 * np.pi * since[holiday])
    values[holiday, 0] += 1.5 * season - 2.0 - 3.0 * season
    assert judged(Rows(rows.places, rows.times, values), MONDAY + 31 * DAY).verdict is Verdict.STEADY


@pytest.mark.parametrize(("feature", "place"), [("seasonal", 0), ("plain", 1)])
def test_a_sudden_shift_is_drift(feature: str, place: int) -> None:
    rows, _ = telemetry()
    values = rows.values.copy()
    values[rows.times > CHECK - DAY, place] += 4.0
    found = judged(Rows(rows.places, rows.times, values))
    assert at(found, feature, Aspect.LEVEL) is Verdict.DRIFT
    assert {shift.feature for shift in found.drifted} == {feature}


def test_a_gradual_shift_is_drift() -> None:
    rows, since = telemetry()
    risen = np.clip(since - (CHECK - DAY - MONDAY) / DAY, 0.0, 1.0)
    values = rows.values + np.column_stack([np.zeros(len(since)), 6.0 * risen])
    assert at(judged(Rows(rows.places, rows.times, values)), "plain", Aspect.LEVEL) is Verdict.DRIFT


def test_another_time_of_day_is_drift() -> None:
    """The mean of the day stays; its course is another."""
    rows, since = telemetry()
    values = rows.values.copy()
    late = rows.times > CHECK - DAY
    values[late, 0] -= 6.0 * np.sin(2 * np.pi * since[late])
    found = judged(Rows(rows.places, rows.times, values))
    assert at(found, "seasonal", Aspect.SPREAD) is Verdict.DRIFT


def test_numbers_that_go_missing_are_drift() -> None:
    rows, _ = telemetry()
    values = rows.values.copy()
    values[(rows.times > CHECK - DAY) & (np.arange(len(values)) % 2 == 0), 1] = np.nan
    found = judged(Rows(rows.places, rows.times, values))
    assert [(shift.feature, shift.aspect) for shift in found.drifted] == [("plain", Aspect.MISSING)]


def test_a_sure_but_small_shift_is_no_drift() -> None:
    chance = np.random.default_rng(3)
    rows, _ = telemetry(memory=0.0)
    values = rows.values.copy()
    values[:, 1] = chance.standard_normal(len(values))
    values[rows.times > CHECK - DAY, 1] += 0.4
    found = judged(Rows(rows.places, rows.times, values))
    shift = next(each for each in found.shifts if (each.feature, each.aspect) == ("plain", Aspect.LEVEL))
    assert shift.q <= ALPHA
    assert shift.verdict is Verdict.STEADY


def test_growth_that_goes_on_is_told_as_growth() -> None:
    rows, since = telemetry(memory=0.5)
    values = rows.values + np.column_stack([np.zeros(len(since)), 0.15 * since])
    found = judged(Rows(rows.places, rows.times, values))
    assert at(found, "plain", Aspect.LEVEL) is Verdict.GROWTH
    assert found.verdict is Verdict.GROWTH


def test_a_jump_out_of_growth_is_drift() -> None:
    rows, since = telemetry(memory=0.5)
    values = rows.values + np.column_stack([np.zeros(len(since)), 0.15 * since])
    values[rows.times > CHECK - DAY, 1] += 4.0
    assert at(judged(Rows(rows.places, rows.times, values)), "plain", Aspect.LEVEL) is Verdict.DRIFT


def test_a_reference_shorter_than_a_season_is_not_judged() -> None:
    rows, since = telemetry()
    late = since > 26
    values = rows.values[late] + np.where(since[late] > 30, 50.0, 0.0)[:, None]
    found = judged(Rows(rows.places[late], rows.times[late], values))
    assert found.verdict is Verdict.UNJUDGED
    assert "a season is 7" in found.shifts[0].told


def test_an_empty_day_is_not_judged() -> None:
    rows, _ = telemetry()
    early = rows.times <= CHECK - DAY
    found = judged(Rows(rows.places[early], rows.times[early], rows.values[early]))
    assert found.verdict is Verdict.UNJUDGED
    assert "no window" in found.shifts[0].told


def test_no_rows_at_all_are_not_judged() -> None:
    nothing = np.empty(0, np.int64)
    assert judged(Rows(nothing, nothing, np.empty((0, 2)))).verdict is Verdict.UNJUDGED


def test_a_constant_feature_is_steady_and_an_absent_one_unjudged() -> None:
    rows, _ = telemetry()
    values = np.column_stack([np.ones(len(rows.values)), np.full(len(rows.values), np.nan)])
    found = judged(Rows(rows.places, rows.times, values))
    assert at(found, "seasonal", Aspect.LEVEL) is Verdict.STEADY
    assert at(found, "plain", Aspect.LEVEL) is Verdict.UNJUDGED


def test_a_constant_feature_that_moves_by_its_floor_is_drift() -> None:
    rows, _ = telemetry()
    values = np.ones_like(rows.values)
    values[rows.times > CHECK - DAY, 0] += 2 * FLOORS[0]
    assert at(judged(Rows(rows.places, rows.times, values)), "seasonal", Aspect.LEVEL) is Verdict.DRIFT


def test_an_hour_of_outage_is_no_drift() -> None:
    rows, _ = telemetry()
    values = rows.values.copy()
    values[(rows.times > CHECK - DAY // 24) & (rows.times <= CHECK), 1] += 1e6
    assert judged(Rows(rows.places, rows.times, values)).verdict is Verdict.STEADY


def test_a_fault_in_the_reference_hides_no_drift() -> None:
    rows, _ = telemetry()
    values = rows.values.copy()
    values[(rows.times > CHECK - 12 * DAY) & (rows.times <= CHECK - 10 * DAY), 1] += 50.0
    values[rows.times > CHECK - DAY, 1] += 4.0
    assert at(judged(Rows(rows.places, rows.times, values)), "plain", Aspect.LEVEL) is Verdict.DRIFT


def test_holm_is_what_the_textbook_says() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


def test_rows_of_any_order_say_the_same() -> None:
    rows, _ = telemetry()
    mixed = np.random.default_rng(1).permutation(len(rows.times))
    other = judged(Rows(rows.places[mixed], rows.times[mixed], rows.values[mixed]))
    assert [shift.verdict for shift in other.shifts] == [shift.verdict for shift in judged(rows).shifts]


def test_days_without_a_window_count_no_more_than_days_that_are_not_there() -> None:
    """A view with a hole, or younger than its reference: what the day says does not hang on how far back one asks."""
    rows, since = telemetry()
    late = since > 15
    young = Rows(rows.places[late], rows.times[late], rows.values[late])
    whole = hourly(young, MONDAY + 32 * DAY, DAY, 17)
    asked = hourly(young, MONDAY + 32 * DAY, DAY, 29)
    assert daily(asked, np.array(FLOORS)).wider == daily(whole, np.array(FLOORS)).wider
    assert [each.statistic for each in judge(asked, ("a", "b"), FLOORS).shifts] == pytest.approx(
        [each.statistic for each in judge(whole, ("a", "b"), FLOORS).shifts]
    )


def test_days_left_out_make_no_season_surer() -> None:
    """A free day's season is the middle of the free days that count."""
    rows, _ = telemetry()
    monday = MONDAY + 28 * DAY
    told = hourly(rows, monday, DAY, 28)
    left = without(told, 8)
    assert daily(told, np.array(FLOORS)).wider == pytest.approx(np.sqrt(8 / 6))
    assert daily(left, np.array(FLOORS)).wider == pytest.approx(np.sqrt(5 / 3))


def test_a_day_of_few_windows_beside_days_left_out_says_nothing_of_what_is_missing() -> None:
    """Half of the reference left out does not make any number of windows enough."""
    rows, since = telemetry()
    few = (since <= 31) | (np.arange(len(since)) % 4 == 0)
    told = without(hourly(Rows(rows.places[few], rows.times[few], rows.values[few]), MONDAY + 32 * DAY, DAY, 29), 15)
    assert np.isnan(daily(told, np.array(FLOORS)).of[Aspect.MISSING][0]).all()


def compressed(drifted: float, days: int = 12, seed: int = 1) -> Rows:
    """A feature of a day of ninety seconds, nine windows each, of two entities; after `drifted` days it is lower."""
    chance = np.random.default_rng(seed)
    times = MONDAY + np.arange(1, 9 * days + 1) * 10_000_000
    since = (times - MONDAY) / 90_000_000
    usual = 0.85 + 0.05 * np.sin(2 * np.pi * since) - np.where(since > drifted, 0.5, 0.0)
    values = np.concatenate([usual + 0.04 * chance.standard_normal(len(times)) for _ in range(2)])
    return Rows(np.repeat(np.arange(2), len(times)), np.tile(times, 2), values[:, None])


def test_a_compressed_day_whose_hours_are_shorter_than_its_windows_is_judged() -> None:
    end = MONDAY + 12 * 90_000_000

    def told(drifted: float) -> Verdict:
        return judge(hourly(compressed(drifted), end, 90_000_000, 29), ("hit_ratio",), (0.05,)).verdict

    assert [told(99.0), told(11.0), told(11.5)] == [Verdict.STEADY, Verdict.DRIFT, Verdict.DRIFT]


def test_days_that_drift_hide_a_drift_as_a_weeks_free_ones_unless_they_are_left_out() -> None:
    """From Friday night on; on Monday a reference of ten days before takes Saturday for what free days are."""
    day, wednesday = 90_000_000, 2 * 90_000_000
    rows = compressed(9.9, days=14)
    rows = Rows(rows.places, rows.times + wednesday, rows.values)

    def told(at: float, left_out: int = 0) -> Verdict:
        end = MONDAY + wednesday + int(at * day) // 3_750_000 * 3_750_000
        return judge(without(hourly(rows, end, day, 29), left_out), ("hit_ratio",), (0.05,)).verdict

    assert [told(11.3), told(12.3)] == [Verdict.DRIFT, Verdict.STEADY]
    assert [told(11.3, 1), told(12.3, 2)] == [Verdict.DRIFT, Verdict.DRIFT]
