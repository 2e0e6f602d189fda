"""The course and the page budget: one family, no threshold below what other platforms' calm has shown."""

from __future__ import annotations

import numpy as np
import pytest

from ml.calibration import Budget, calibrate
from tasks.alongside import changed_rows, least_score
from tasks.course import FOLLOWED, calm_of_course
from tasks.train import chains_of
from tests.unit.platform_parts import at, two_channels
from tonewatch.errors import ModelError
from tonewatch.records import Change, Series
from warehouse.calibrations import COURSE

PLATFORM = two_channels()
NAMES = [Series(entity, "scrape_seconds") for entity in sorted(PLATFORM.entities)]
CHAINS = chains_of(PLATFORM, [name.entity for name in NAMES])
TICKS = 4_000
BUDGET = Budget(1, 7 * 1440 * 60.0, 60.0, 3, 120.0, 60.0)


def test_all_series_are_one_family_and_announced_work_is_no_calm() -> None:
    scores = np.random.default_rng(0).random((len(NAMES), TICKS)) / 2
    worked = np.zeros(scores.shape, np.bool_)
    worked[0, :10] = True
    calm = calm_of_course(NAMES, scores, CHAINS, worked)
    assert list(calm) == [COURSE]
    assert (calm[COURSE].run, calm[COURSE].hold) == (FOLLOWED.run, FOLLOWED.hold)
    assert np.isnan(calm[COURSE].scores[0, :10]).all()
    assert np.isfinite(calm[COURSE].scores[:, 10:]).all()


def test_what_was_never_judged_has_no_calm_and_other_shapes_are_refused() -> None:
    never = np.full((len(NAMES), 5), np.nan)
    assert calm_of_course(NAMES, never, CHAINS, np.zeros(never.shape, np.bool_)) == {}
    with pytest.raises(ModelError, match="series"):
        calm_of_course(NAMES, never, CHAINS, np.zeros((1, 5), np.bool_))


def test_no_threshold_is_set_below_the_least_and_a_higher_one_stays() -> None:
    scores = np.random.default_rng(1).random((len(NAMES), TICKS)) / 10
    calm = calm_of_course(NAMES, scores, CHAINS, np.zeros(scores.shape, np.bool_))
    own = calibrate(calm, BUDGET, resamples=5).thresholds[COURSE].value
    assert own < 0.9
    assert calibrate(calm, BUDGET, resamples=5, least={COURSE: 0.9}).thresholds[COURSE].value == 0.9
    assert calibrate(calm, BUDGET, resamples=5, least={COURSE: own / 2}).thresholds[COURSE].value == own


def test_more_pages_and_fewer_series_allow_a_lower_threshold() -> None:
    usual = least_score(100, 1.0)
    assert usual == pytest.approx(1 - np.exp(-9.5 / 4))
    assert least_score(100, 10.0) < usual < least_score(1_000, 1.0)
    assert least_score(1, 1e9) == 0.0


def test_a_release_moves_the_series_of_its_part_and_work_moves_none() -> None:
    release, work = (
        Change("c", kind, NAMES[2].entity, at(0), None, "somebody", "v2") for kind in ("release", "maintenance")
    )
    assert changed_rows(NAMES, release) == [2]
    assert changed_rows(NAMES, work) == []
