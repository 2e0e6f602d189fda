from __future__ import annotations

import numpy as np
import pytest

from ml.detectors.season import Season
from ml.detectors.stream import Floats, StreamState, begin, take

HALF_HOURS = 48


def residuals(values: Floats) -> Floats:
    """Of one series, one value each half-hour."""
    look = Season()
    state = StreamState(begin(1) | look.begin(1))
    rounds = (take(state, np.array([1800.0 * row]), np.array([value])) for row, value in enumerate(values))
    return np.array([look.look(state, now)[0][0] for now in rounds])


def days(count: int) -> Floats:
    """By day 100, by night 10."""
    day = np.where(np.arange(HALF_HOURS) < HALF_HOURS // 2, 10.0, 100.0)
    return np.asarray(np.tile(day, count) + np.random.default_rng(0).normal(0.0, 1.0, count * HALF_HOURS))


def test_the_first_day_is_not_judged_and_a_days_usual_swing_leaves_no_residual() -> None:
    found = residuals(days(8))
    assert np.isnan(found[:HALF_HOURS]).all()
    assert np.abs(found[2 * HALF_HOURS :]).max() < 6.0


def test_a_days_value_at_night_is_a_residual_though_the_value_is_usual() -> None:
    values = days(8)
    values[-HALF_HOURS + 5] = 100.0
    assert residuals(values)[-HALF_HOURS + 5] == pytest.approx(90.0, abs=5.0)


def test_a_fault_of_a_night_does_not_become_the_expectation() -> None:
    values = days(9)
    values[7 * HALF_HOURS : 7 * HALF_HOURS + 20] = 100.0
    assert np.abs(residuals(values)[8 * HALF_HOURS :]).max() < 8.0
