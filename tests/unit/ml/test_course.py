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
#: Two weeks are learned from; the fault is on Wednesday of the third, at noon, counted from BEGIN.
BEGIN = 14 * PER_DAY
NOON = 2 * PER_DAY + PER_DAY // 2
HOLIDAY = 15
#: Well above all calm, in score: some ten usual differences.
STRANGE = 0.93


def platform(days: int = DAYS, *, holiday: int | None = None, seed: int = 0) -> Floats:
    """(readings, SERIES) that follow an audience of working days and weekends, with own and common noise."""
    chance = np.random.default_rng(seed)
    steps = np.arange(days * PER_DAY)
    day, hour = steps // PER_DAY, steps % PER_DAY / PER_DAY * 2 * np.pi
    free = (day % 7 >= 5) | (day == holiday)
    season = np.where(free, 0.3 * np.sin(2 * hour) - 0.2, 0.8 * np.sin(hour))
    common = 0.03 * chance.standard_normal(len(steps))
    own = 0.05 * chance.standard_normal((len(steps), SERIES))
    return np.asarray(np.exp(3.0 + (season + common)[:, None] + own))


@pytest.fixture(scope="module")
def learned() -> StreamState:
    """What is known after the calm first two weeks."""
    course = Course()
    state = course.begin(SERIES)
    _on(course, state, platform()[:BEGIN], 0, {})
    return state


def follow(learned: StreamState, values: Floats, changes: Mapping[int, list[int]] | None = None) -> list[Strayed]:
    """What the course says to (readings, series) of values from BEGIN on; changes: by reading, what may have moved."""
    return _on(Course(), learned.copy(), values[BEGIN:], BEGIN, changes or {})


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


def test_calm_days_are_judged_from_the_second_week_on_and_are_not_strange(learned: StreamState) -> None:
    assert (learned.arrays["days"] >= 4).all()
    assert (scores(follow(learned, platform())) < STRANGE).all()


def test_nothing_is_said_of_the_first_days() -> None:
    course = Course()
    assert np.isnan(scores(_on(course, course.begin(SERIES), platform()[: 4 * PER_DAY], 0, {}))).all()


def test_one_series_elsewhere_is_strange_alone_and_explains_itself(learned: StreamState) -> None:
    values = platform()
    values[BEGIN + NOON :, 2] *= np.exp(0.5)
    told = follow(learned, values)
    found = scores(told)
    assert found[NOON : NOON + 6, 2].max() > STRANGE
    assert np.delete(found, 2, axis=1).max() < STRANGE
    why = Course().explain(told[NOON + 6], 2)
    assert why["actual"] == pytest.approx(values[BEGIN + NOON + 6, 2])
    assert 0.5 < why["expected"] / why["actual"] < 0.75


def test_a_holiday_is_a_free_day_since_all_series_say_so(learned: StreamState) -> None:
    assert scores(follow(learned, platform(holiday=HOLIDAY))).max() < STRANGE
    alone = platform()
    alone[:, 0] = platform(holiday=HOLIDAY)[:, 0]  # one series takes a holiday by itself: a wrong schedule
    assert scores(follow(learned, alone))[:, 0].max() > STRANGE


def test_an_audience_that_all_series_follow_is_no_fault(learned: StreamState) -> None:
    values = platform()
    values[BEGIN + NOON :] *= np.exp(0.15)
    assert scores(follow(learned, values)).max() < STRANGE


def test_a_slow_drift_is_seen_though_no_reading_stands_out(learned: StreamState) -> None:
    values = platform()
    values[BEGIN + NOON : BEGIN + NOON + 60, 4] *= np.exp(np.linspace(0.0, 0.5, 60))
    assert scores(follow(learned, values))[NOON : NOON + 60, 4].max() > STRANGE


def test_a_figure_that_stands_still_or_trembles_is_strange(learned: StreamState) -> None:
    values, chance, here = platform(), np.random.default_rng(9), slice(BEGIN + NOON, BEGIN + NOON + 30)
    values[here, 1] = values[here.start - 1, 1]
    values[here, 6] *= np.exp(0.25 * chance.choice((-1.0, 1.0), 30))
    found = scores(follow(learned, values))[NOON : NOON + 30]
    assert found[:, 1].max() > STRANGE
    assert found[:, 6].max() > STRANGE


def test_a_release_is_forgiven_a_little_and_no_more(learned: StreamState) -> None:
    small, large, released = platform(), platform(), {BEGIN: [3]}
    small[BEGIN:, 3] *= np.exp(0.08)
    large[BEGIN:, 3] *= np.exp(0.6)
    forgiven, held = (scores(follow(learned, small, changes))[:, 3].max() for changes in (released, {}))
    assert forgiven < held
    assert forgiven < STRANGE
    assert scores(follow(learned, large, released))[:30, 3].max() > STRANGE


def test_what_never_moves_is_not_judged() -> None:
    values = platform()
    values[:, 5] = 1.0
    values[BEGIN + NOON, 5] = 0.0
    course = Course()
    found = scores(_on(course, course.begin(SERIES), values, 0, {}))
    assert np.isnan(found[:, 5]).all()
    assert np.isfinite(np.delete(found[-1], 5)).all()


def test_what_never_moves_has_no_word_in_what_the_others_do() -> None:
    """More of them than of those with a day, each once away for a moment: a profile that is clear only of noise."""
    still = np.ones((len(platform()), 2 * SERIES))
    for row in range(still.shape[1]):
        still[(8 + row % 4) * PER_DAY + 40 + row, row] = 0.0
    values = np.concatenate([platform(), still], axis=1)
    course = Course()
    state = course.begin(values.shape[1])
    _on(course, state, values, 0, {})
    assert (state.arrays["share"][:SERIES] > 0).all()
    assert (state.arrays["share"][SERIES:] == 0).all()


def test_a_counter_is_judged_by_its_growth_and_a_reset_is_none() -> None:
    values = np.cumsum(platform(), axis=0)
    reset = BEGIN + NOON
    values[reset:, 0] -= values[reset - 1, 0]
    course = Course()
    found = scores(_on(course, course.begin(SERIES, np.ones(SERIES, np.bool_)), values, 0, {}))
    assert np.isnan(found[reset, 0])
    assert found[BEGIN:].size
    assert np.nanmax(found[BEGIN:]) < STRANGE
    assert np.isfinite(found[-1]).all()


def test_a_snapshot_goes_on_as_if_nothing_had_been(learned: StreamState) -> None:
    restored, cursor = Course().restored(learned.snapshot({"read": BEGIN}))
    assert cursor == {"read": BEGIN}
    np.testing.assert_array_equal(scores(follow(restored, platform())), scores(follow(learned, platform())))


def test_platforms_side_by_side_are_judged_as_each_alone(learned: StreamState) -> None:
    both = np.concatenate([platform(), platform(seed=5)], axis=1)
    course = Course()
    state = course.begin(2 * SERIES, platforms=np.repeat([0, 1], SERIES))
    found = scores(_on(course, state, both, 0, {}))
    np.testing.assert_allclose(found[BEGIN:, :SERIES], scores(follow(learned, platform())), rtol=1e-6)


@pytest.mark.parametrize(
    "bad",
    [np.nan, 1e300, -1e-300, np.inf, (1.0, 2.0)],
    ids=["missing", "exploding", "tiny", "infinite", "two values"],
)
def test_bad_values_break_nothing_and_are_no_silent_zero(learned: StreamState, bad: float | tuple[float, ...]) -> None:
    values = platform()
    values[BEGIN : BEGIN + NOON, 7] = np.resize(bad, NOON)
    found = scores(follow(learned, values))
    assert ((found >= 0) & (found < 1) | np.isnan(found)).all()
    assert np.isfinite(found[-1]).all()
    if np.isfinite(bad).all():
        assert found[:NOON, 7].max() > STRANGE
    else:
        assert np.isnan(found[:NOON, 7]).all()


def test_a_clock_that_jumps_back_is_no_reading(learned: StreamState) -> None:
    state, values = learned.copy(), platform()[BEGIN]
    state, strayed = Course().score(state, np.full(SERIES, START), values)
    assert np.isnan(strayed.score).all()
    state, strayed = Course().score(state, np.full(SERIES, START + BEGIN * EVERY_S), values)
    assert np.isfinite(strayed.score).all()


def test_shapes_that_do_not_fit_are_refused() -> None:
    course = Course()
    with pytest.raises(ModelError, match="platforms of shape"):
        course.begin(3, platforms=np.zeros(2, np.int64))
    with pytest.raises(ModelError, match="2 series"):
        course.score(course.begin(2), np.zeros(3), np.zeros(3))
    with pytest.raises(ModelError, match="another detector"):
        course.restored(default_ensemble().begin(1).snapshot({}))


def test_what_was_not_judged_is_not_explained() -> None:
    course = Course()
    _, strayed = course.score(course.begin(1), np.zeros(1), np.zeros(1))
    assert course.explain(strayed, 0) == {}


def test_a_series_takes_less_than_four_kilobytes_with_the_ensemble_beside_it() -> None:
    assert Course().begin(1).bytes_per_series + default_ensemble().begin(1).bytes_per_series <= 4096


def test_a_series_that_is_read_more_rarely_than_the_rest_learns_its_free_days_too() -> None:
    course, rare = Course(), slice(SERIES // 2, None)
    values = np.repeat(platform(14), 2, axis=0)
    values[::2] *= np.exp(0.02 * np.random.default_rng(1).standard_normal(values[::2].shape))
    values[1::2, rare] = np.nan  # of two rounds in ten minutes it has one
    state, judged = course.begin(SERIES), []
    for step, row in enumerate(values):
        state, strayed = course.score(state, np.full(SERIES, START + step * EVERY_S / 2), row)
        if step >= 12 * 2 * PER_DAY and step % 2 == 0:  # the second weekend
            judged.append(~np.isnan(strayed.score[rare]))
    assert np.mean(judged) > 0.9
