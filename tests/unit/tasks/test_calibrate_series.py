"""Single series' calm on the forests' axis of time, and the budget that both share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ml.fingerprint import fingerprint_of_course
from tasks.alongside import least_of
from tasks.calibrate import family_of
from tasks.calibrate_series import LEAST_ROUNDS, SeriesLesson, calibrated_together, in_windows, rows_of
from tasks.publish_series import table
from tasks.train import Stretch
from tests.unit.platform_parts import START, at, two_channels
from tests.unit.tasks.followed import LAG, PROFILE
from tonewatch.records import Series
from warehouse.calibrations import COURSE

NAN = np.nan
WINDOWS = 2_000


def lesson(rounds: int = LEAST_ROUNDS) -> SeriesLesson:
    """Two lags with outliers of all sizes, and a series that was judged for too short."""
    chance = np.random.default_rng(1)
    scores = np.where(chance.random((3, WINDOWS)) < 0.05, 0.6 * chance.random((3, WINDOWS)), 0.0)
    names = (*LAG, Series(LAG[0].entity, "up"))
    judged = {family_of(LAG[0]): rounds, "series:up": 3}
    return SeriesLesson(names, scores, np.zeros(scores.shape, np.bool_), judged, 2 * WINDOWS, "hash")


def test_windows_have_the_strangest_of_the_rounds_within_a_tick() -> None:
    rounds = np.array([[0.1, 0.5, NAN, 0.2, 0.3]])
    ends = np.array([START.timestamp() + second for second in (5.0, 10.0, 15.0, 19.0, 20.0)])
    windows = [at(second) for second in (5, 7, 10, 12, 15, 20, 30)]
    found = in_windows(rounds, ends, windows, 5.0)
    np.testing.assert_array_equal(found, [[0.1, 0.1, 0.5, 0.5, NAN, 0.3, NAN]])


def test_a_round_counts_once_in_each_phase_of_a_tick() -> None:
    rounds, ends = np.zeros((1, 20)), START.timestamp() + 5.0 * np.arange(1, 21)
    rounds[0, 10] = 0.9
    windows = [at(second) for second in range(10, 101)]
    (told,) = np.nonzero(in_windows(rounds, ends, windows, 5.0)[0] > 0)
    assert len(told) == 5
    assert sorted(place % 5 for place in told.tolist()) == [0, 1, 2, 3, 4]


def test_only_families_that_were_judged_for_long_enough_have_a_threshold() -> None:
    stretch = Stretch("t", START, at(10_000), PROFILE)
    calibration = calibrated_together([], lesson(), two_channels(), stretch, families=0, seed=1)
    (row,) = rows_of(stretch, calibration, "1234", at(0))
    assert (row.family, row.version, row.model_version) == (family_of(LAG[0]), "1234", "series:lag_seconds/1234")
    assert 0.5 < row.highest <= row.threshold < 1
    told, silent = table(lesson(), [row])
    assert told["family"] == row.family
    assert silent == {"family": "series:up", "silent": lesson().silent()["series:up"]}


def test_the_course_joins_the_budget_where_it_has_judged_for_long_and_never_goes_below_the_prior() -> None:
    stretch = Stretch("t", START, at(10_000), PROFILE)
    least = least_of(3, PROFILE.budget)
    scores = np.random.default_rng(2).random((3, WINDOWS)) / 10
    found = []
    for rounds, outlier in ((LEAST_ROUNDS - 1, 0.0), (LEAST_ROUNDS, 0.0), (LEAST_ROUNDS, (1 + least) / 2)):
        course = scores.copy()
        course[:, 100::200] = np.maximum(course[:, 100::200], outlier)
        taught = lesson()
        taught = replace(taught, course=course, judged=dict(taught.judged) | {COURSE: rounds})
        calibration = calibrated_together([], taught, two_channels(), stretch, families=0, seed=1)
        rows = rows_of(stretch, calibration, "1234", at(0))
        found.append({row.family: row for row in rows}.get(COURSE))
        silent = {line["family"]: line["silent"] for line in table(taught, rows) if "silent" in line}
        assert (COURSE in silent) == (found[-1] is None)
    assert found[0] is None
    assert found[1] is not None
    assert found[2] is not None
    assert (found[1].threshold, found[1].version) == (least, fingerprint_of_course())
    assert found[1].model_version == f"course/{fingerprint_of_course()}"
    assert found[2].threshold > (1 + least) / 2


def test_families_that_keep_their_champion_keep_their_share_of_the_budget() -> None:
    stretch = Stretch("t", START, at(10_000), PROFILE)
    aims = [
        calibrated_together([], lesson(), two_channels(), stretch, families=families, seed=1).aim for families in (0, 1)
    ]
    assert aims[1] == pytest.approx(aims[0] / 2)


def test_a_lesson_without_a_ready_family_has_no_calm() -> None:
    assert lesson(LEAST_ROUNDS - 1).calm({each.entity: 0 for each in LAG}) == {}
