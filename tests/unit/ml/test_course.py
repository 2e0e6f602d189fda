"""The course of a platform: its days, its holidays, what strays from them, and every kind of bad input."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from ml.course import Course, Strayed
from ml.detectors.stream import Floats, StreamState
from ml.ensemble import default_ensemble
from tonewatch.errors import ModelError

EVERY_S, PER_DAY, SERIES = 600.0, 144, 8
#: A Monday at midnight, UTC.
START = 1_767_571_200.0
DAYS = 17
#: Wednesday of the third week, at noon.
NOON = 16 * PER_DAY + PER_DAY // 2
HOLIDAY = 15
#: Well above all calm, in score: some ten usual differences.
STRANGE = 0.93


def platform(days: int = DAYS, *, holiday: int | None = None, seed: int = 0) -> Floats:
    """(readings, SERIES) that follow an audience of working days and weekends, with noise of their own and in common."""
    chance = np.random.default_rng(seed)
    steps = np.arange(days * PER_DAY)
    day, hour = steps // PER_DAY, steps % PER_DAY / PER_DAY * 2 * np.pi
    free = (day % 7 >= 5) | (day == holiday)
    season = np.where(free, 0.3 * np.sin(2 * hour) - 0.2, 0.8 * np.sin(hour))
    common = 0.03 * chance.standard_normal(len(steps))
    own = 0.05 * chance.standard_normal((len(steps), SERIES))
    return np.asarray(np.exp(3.0 + (season + common)[:, None] + own))


def follow(values: Floats, changes: Mapping[int, list[int]] | None = None) -> tuple[list[Strayed], StreamState]:
    """What the course says to (readings, series) of values; changes: by reading, the series that may have moved."""
    course = Course()
    state = course.begin(values.shape[1])
    return _on(course, state, values, 0, changes or {}), state


def _on(
    course: Course, state: StreamState, values: Floats, first: int, changes: Mapping[int, list[int]]
) -> list[Strayed]:
    told = []
    for step, row in enumerate(values, first):
        if step in changes:
            course.changed(state, changes[step])
        state, strayed = course.score(state, np.full(len(row), START + step * EVERY_S), row)
        told.append(strayed)
    return told


def scores(told: list[Strayed]) -> Floats:
    """(readings, series)."""
    return np.stack([each.score for each in told])


@pytest.fixture(scope="module")
def calm() -> Floats:
    return scores(follow(platform())[0])


def test_calm_days_are_judged_from_the_second_week_on_and_are_not_strange(calm: Floats) -> None:
    assert np.isnan(calm[: 4 * PER_DAY]).all()
    assert np.isfinite(calm[14 * PER_DAY :]).all()
    assert np.nanmax(calm) < STRANGE


def test_one_series_elsewhere_is_strange_alone_and_explains_itself() -> None:
    values = platform()
    values[NOON : NOON + 18, 2] *= np.exp(0.5)
    told, _ = follow(values)
    found = scores(told)
    assert found[NOON : NOON + 6, 2].max() > STRANGE
    assert np.delete(found, 2, axis=1)[14 * PER_DAY :].max() < STRANGE
    why = Course().explain(told[NOON + 6], 2)
    assert why["actual"] == pytest.approx(values[NOON + 6, 2])
    assert 0.5 < why["expected"] / values[NOON + 6, 2] < 0.75
    assert Course().explain(told[0], 2) == {}


def test_a_holiday_is_a_free_day_since_all_series_say_so() -> None:
    found = scores(follow(platform(holiday=HOLIDAY))[0])
    assert found[HOLIDAY * PER_DAY :].max() < STRANGE
    alone = platform()
    alone[:, 0] = platform(holiday=HOLIDAY)[:, 0]  # one series takes a holiday by itself: a wrong schedule
    found = scores(follow(alone)[0])
    assert found[HOLIDAY * PER_DAY : (HOLIDAY + 1) * PER_DAY, 0].max() > STRANGE


def test_an_audience_that_all_series_follow_is_no_fault() -> None:
    values = platform()
    values[NOON : NOON + 18] *= np.exp(0.15)
    found = scores(follow(values)[0])
    assert found[NOON:].max() < STRANGE


def test_a_slow_drift_is_seen_though_no_reading_stands_out() -> None:
    values = platform()
    values[NOON : NOON + 60, 4] *= np.exp(np.linspace(0.0, 0.5, 60))
    assert scores(follow(values)[0])[NOON : NOON + 60, 4].max() > STRANGE


def test_a_figure_that_stands_still_or_trembles_is_strange() -> None:
    values, chance = platform(), np.random.default_rng(9)
    values[NOON : NOON + 30, 1] = values[NOON - 1, 1]
    values[NOON : NOON + 30, 6] *= np.exp(0.25 * chance.choice((-1.0, 1.0), 30))
    found = scores(follow(values)[0])[NOON : NOON + 30]
    assert found[:, 1].max() > STRANGE
    assert found[:, 6].max() > STRANGE


def test_a_release_is_forgiven_a_little_and_no_more() -> None:
    released = 13 * PER_DAY
    small, large = platform(), platform()
    small[released:, 3] *= np.exp(0.08)
    large[released : released + 30, 3] *= np.exp(0.6)
    forgiven, held = (scores(follow(small, change)[0])[released:, 3].max() for change in ({released: [3]}, {}))
    assert forgiven < held
    assert forgiven < STRANGE
    assert scores(follow(large, {released: [3]})[0])[released : released + 30, 3].max() > STRANGE


def test_what_never_moves_is_not_judged() -> None:
    values = platform()
    values[:, 5] = 1.0
    values[NOON, 5] = 0.0
    found = scores(follow(values)[0])
    assert np.isnan(found[:, 5]).all()
    assert np.isfinite(np.delete(found[-1], 5)).all()


def test_a_counter_is_judged_by_its_growth_and_a_reset_is_none() -> None:
    values = np.cumsum(platform(), axis=0)
    values[NOON:, 0] -= values[NOON - 1, 0]
    course = Course()
    state = course.begin(SERIES, np.ones(SERIES, np.bool_))
    found = scores(_on(course, state, values, 0, {}))
    assert np.isnan(found[NOON, 0])
    assert np.nanmax(found) < STRANGE
    assert np.isfinite(found[-1]).all()


def test_a_snapshot_goes_on_as_if_nothing_had_been() -> None:
    values, half = platform(), 10 * PER_DAY
    whole, _ = follow(values)
    _, state = follow(values[:half])
    restored, cursor = Course().restored(state.snapshot({"read": half}))
    rest = _on(Course(), restored, values[half:], cursor["read"], {})
    np.testing.assert_array_equal(scores(rest), scores(whole[half:]))


def test_platforms_side_by_side_are_judged_as_each_alone(calm: Floats) -> None:
    both = np.concatenate([platform(), platform(seed=5)], axis=1)
    course = Course()
    state = course.begin(2 * SERIES, platforms=np.repeat([0, 1], SERIES))
    found = scores(_on(course, state, both, 0, {}))
    np.testing.assert_allclose(found[:, :SERIES], calm, rtol=1e-6)


@pytest.mark.parametrize(
    "bad",
    [np.full(300, np.nan), np.full(300, 1e300), np.resize([1.0, 2.0], 300), np.full(300, -1e-300), np.full(300, np.inf)],
    ids=["missing", "exploding", "two values", "tiny", "infinite"],
)
def test_bad_values_break_nothing_and_are_no_silent_zero(bad: Floats) -> None:
    values = platform()
    values[NOON - 300 : NOON, 7] = bad
    found = scores(follow(values)[0])
    assert ((found >= 0) & (found < 1) | np.isnan(found)).all()
    assert np.isfinite(found[-1, :7]).all()
    if not np.isfinite(bad).any():
        assert np.isnan(found[NOON - 300 : NOON, 7]).all()


def test_a_clock_that_jumps_back_is_no_reading() -> None:
    values = platform()
    course = Course()
    state = course.begin(SERIES)
    _on(course, state, values[:NOON], 0, {})
    state, strayed = course.score(state, np.full(SERIES, START), values[NOON])
    assert np.isnan(strayed.score).all()
    state, strayed = course.score(state, np.full(SERIES, START + NOON * EVERY_S), values[NOON])
    assert np.isfinite(strayed.score).all()


def test_shapes_that_do_not_fit_are_refused() -> None:
    course = Course()
    with pytest.raises(ModelError, match="platforms of shape"):
        course.begin(3, platforms=np.zeros(2, np.int64))
    with pytest.raises(ModelError, match="2 series"):
        course.score(course.begin(2), np.zeros(3), np.zeros(3))
    with pytest.raises(ModelError, match="another detector"):
        course.restored(default_ensemble().begin(1).snapshot({}))


def test_a_series_takes_less_than_four_kilobytes_with_the_ensemble_beside_it() -> None:
    assert Course().begin(1).bytes_per_series + default_ensemble().begin(1).bytes_per_series <= 4096
