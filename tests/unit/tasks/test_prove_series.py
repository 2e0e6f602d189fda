"""New thresholds of single series against those that are held, and the made anomalies that both are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from ml.calibration import Calibration, Threshold
from tasks.calibrate_series import LEAST_ROUNDS, SeriesLesson
from tasks.follow import Follower
from tasks.prove_series import prove_series
from tasks.train import Stretch
from tasks.try_series import Tried, rounds_of_piece, tried
from tests.unit.platform_parts import START, at, two_channels
from tests.unit.tasks.followed import LAG, PLATFORM, PROFILE, ended, fit, noise, sampled
from tonewatch.records import Series
from warehouse.calibrations import COURSE

FAMILY = "series:lag_seconds"
WINDOWS = 2_000
STRETCH = Stretch("t", START, at(10_000), PROFILE)
#: Ten made anomalies, of scores from 0.50 to 0.95.
TRIED = [Tried(FAMILY, 0.5 + number / 20) for number in range(10)]


def lesson(asked: Sequence[Tried] = TRIED, outliers: int = 0) -> SeriesLesson:
    """Calm lags, with outliers of 0.9 that last for a tick, each an episode of its own."""
    scores = np.zeros((2, WINDOWS))
    for number in range(outliers):
        scores[0, 100 + 650 * number : 105 + 650 * number] = 0.9
    calm = np.zeros_like(scores, np.bool_)
    return SeriesLesson(tuple(LAG), scores, calm, {FAMILY: LEAST_ROUNDS}, 0, "", None, asked)


def made(threshold: float, **further: float) -> Calibration:
    values = {FAMILY: threshold, **further}
    found = {name: Threshold(value, value, value, 0.4) for name, value in values.items()}
    return Calibration(found, 0.01, 0.05, 0.05, 0.0, WINDOWS, "exponential")


@pytest.mark.parametrize(("threshold", "passed"), [(0.3, True), (0.45, True), (0.62, True), (0.99, False)])
def test_thresholds_that_find_about_as_much_pass_and_those_that_find_much_less_do_not(
    threshold: float, passed: bool
) -> None:
    held = {FAMILY: fit("lag_seconds", 0.45)}
    verdict = prove_series(lesson(), made(threshold), held, two_channels(), STRETCH)
    assert verdict.passed is passed
    assert verdict.reason.endswith("of 10 made anomalies, those held 10")


def test_a_first_threshold_is_taken_and_none_is_from_a_stretch_that_is_hardly_calm() -> None:
    first = prove_series(lesson(), made(0.99), {}, two_channels(), STRETCH)
    assert (first.passed, first.reason) == (True, "0 incidents on the calm; none was held before")
    restless = replace(STRETCH, restless="1 incident, 1 not over")
    for held in ({}, {FAMILY: fit("lag_seconds", 0.99)}):
        verdict = prove_series(lesson(), made(0.5), held, two_channels(), restless)
        assert (verdict.passed, verdict.reason) == (False, "it is hardly calm: 1 incident, 1 not over")


def test_thresholds_that_page_beyond_the_budget_and_those_held_are_refused() -> None:
    shrill = lesson(outliers=3)
    verdict = prove_series(shrill, made(0.8), {FAMILY: fit("lag_seconds", 0.95)}, two_channels(), STRETCH)
    assert not verdict.passed
    assert verdict.reason.startswith("they open 3 incidents on the calm, those held 0")
    assert prove_series(shrill, made(0.8), {FAMILY: fit("lag_seconds", 0.7)}, two_channels(), STRETCH).passed
    assert not prove_series(shrill, made(0.8), {}, two_channels(), STRETCH).passed


def test_where_no_anomaly_can_be_made_the_incidents_alone_judge_and_that_is_said() -> None:
    held = {FAMILY: fit("lag_seconds", 0.95)}
    verdict = prove_series(lesson([]), made(0.5), held, two_channels(), STRETCH)
    assert (verdict.passed, verdict.reason) == (
        True,
        "0 incidents on the calm, those held 0; no anomaly could be made in it, so that nothing else was compared",
    )
    assert "gate_recall" not in verdict.figures
    assert not prove_series(lesson([], outliers=3), made(0.8), held, two_channels(), STRETCH).passed


def test_what_takes_anothers_place_must_be_proved() -> None:
    held = {FAMILY: fit("lag_seconds", 0.5)}
    assert prove_series(lesson([]), None, held, two_channels(), STRETCH).passed, "nothing was set"
    ours = [*TRIED, *(Tried("series:up", 0.6) for _ in range(20)), *(Tried(COURSE, 0.6) for _ in range(20))]
    verdict = prove_series(lesson(ours), made(0.99), held, two_channels(), STRETCH)
    assert verdict.reason == "they find 0 of 10 made anomalies, those held 9", "others take nobody's place"


def follower(names: Sequence[Series], values: np.ndarray) -> Follower:
    made_ = Follower(100)
    for number, heard in enumerate(sampled(names, values)):
        made_.hear(heard)
        made_.tick(ended(number), PLATFORM, PROFILE)
    return made_


def test_made_anomalies_are_told_by_a_copy_and_the_same_each_time() -> None:
    names = [*LAG, *(Series(each.entity, "up") for each in LAG)]
    values = noise(4, 260, seed=3)
    values[2:] = 1.0  # what never moves has no spread to be moved by
    watched = follower(names, values[:, :200])
    before = {name: array.copy() for name, array in watched.state.arrays.items()}
    rounds = [(ended(200 + number), heard) for number, heard in enumerate(sampled(names, values[:, 200:], 200))]
    found = [tried(name, watched, rounds, PLATFORM, PROFILE) for name in ("t", "t", "u", "v", "w", "x")]
    assert {each.family for (each,) in found} == {FAMILY}
    assert found[0] == found[1]
    assert len({each.score for (each,) in found}) > 2, "each tenant has its own"
    assert max(each.score for (each,) in found) > 0.3
    for name, array in watched.state.arrays.items():
        np.testing.assert_array_equal(array, before[name])
    assert watched.rounds.end == ended(199).timestamp()
    least = rounds_of_piece(PROFILE)
    assert len(tried("t", watched, rounds[:least], PLATFORM, PROFILE)) == 1, "just long enough"
    assert tried("t", watched, rounds[: least - 1], PLATFORM, PROFILE) == [], "too short to hold one"
    later = [(end + timedelta(hours=1), heard) for end, heard in rounds]
    assert tried("t", Follower(100), later, PLATFORM, PROFILE) == [], "nothing is followed yet"
