from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.calibration import Budget, Floats, calibrate, debounced, findings
from tonewatch.errors import ModelError

DEMO = Budget(pages_per_week=1, week_seconds=630, tick_seconds=5, debounce=3, families=7)


def calm(entities: int, windows: int, memory: float, seed: int) -> Floats:
    """Scores whose -log(1 - score) is a normal AR(1)."""
    chance = np.random.default_rng(seed)
    levels = np.empty((entities, windows))
    levels[:, 0] = chance.standard_normal(entities)
    for window in range(1, windows):
        levels[:, window] = memory * levels[:, window - 1]
        levels[:, window] += np.sqrt(1 - memory**2) * chance.standard_normal(entities)
    return -np.expm1(-np.maximum(0.7 + 0.15 * levels, 0.01))


def spent(threshold: float, scores: Floats, budget: Budget, phases: int = 1) -> float:
    """Realised findings as a share of the budget."""
    ticks = scores.shape[1] / phases
    return findings(scores, threshold, budget.debounce, phases) / ticks / budget.per_tick


def test_a_finding_is_a_run_of_windows_above_the_threshold() -> None:
    scores = np.array([[0.9, 0.9, 0.1, 0.9, 0.9, 0.9, 0.9, 0.1, 0.9, 0.9, 0.9]])
    assert findings(scores, 0.5, debounce=3) == 2
    assert findings(scores, 0.5, debounce=4) == 1
    assert findings(scores, 0.9, debounce=1) == 0


def test_a_missing_window_breaks_a_run() -> None:
    scores = np.array([[0.9, 0.9, np.nan, 0.9, 0.9]])
    assert findings(scores, 0.5, debounce=3) == 0
    assert findings(scores, 0.5, debounce=2) == 2


def test_windows_between_ticks_are_debounced_a_tick_apart() -> None:
    scores = np.array([[0.9, 0.1, 0.8, 0.2, 0.7, 0.3]])
    np.testing.assert_array_equal(debounced(scores, 3, phases=2), [[0.7, 0.1]])
    assert findings(scores, 0.5, debounce=3, phases=2) == 0.5  # one of the two phases


def test_fewer_windows_than_a_run_needs_make_none() -> None:
    assert debounced(np.ones((2, 2)), 3).shape == (2, 0)


@pytest.mark.parametrize("pages", [50, 400])
def test_a_long_calm_stretch_keeps_fresh_calm_within_twice_the_budget(pages: float) -> None:
    budget = Budget(pages, 7 * 86400, tick_seconds=15, debounce=3, families=2)
    fresh = calm(4, 100_000, 0.6, seed=100)
    for seed in range(3):
        fit = calibrate(calm(4, 5760, 0.6, seed), budget, seed=seed, resamples=50)
        assert spent(fit.threshold, fresh, budget) <= 2
        assert fit.rate <= budget.pages_per_week / budget.families * 1.001


def test_a_compressed_day_keeps_fresh_calm_within_twice_the_budget_on_average() -> None:
    fresh = calm(2, 50_000, 0.9, seed=100)
    shares = [
        spent(calibrate(calm(2, 90, 0.9, seed), DEMO, phases=5, seed=seed).threshold, fresh, DEMO, 5)
        for seed in range(10)
    ]
    assert np.mean(shares) <= 2


def test_a_budget_that_the_stretch_can_show_is_spent_not_hoarded() -> None:
    budget = Budget(20_000, 7 * 86400, tick_seconds=15, debounce=1, families=1)
    fit = calibrate(calm(4, 5760, 0.3, seed=1), budget, resamples=50)
    assert fit.tail == "seen"
    assert 0.5 <= spent(fit.threshold, calm(4, 50_000, 0.3, seed=2), budget) <= 1.5


def test_a_heavy_tail_is_met_with_a_higher_threshold() -> None:
    light = calm(2, 3000, 0.5, seed=1)
    levels = -np.log1p(-light)
    heavy = -np.expm1(-np.where(levels > np.quantile(levels, 0.9), levels * 1.5, levels))
    budget = replace(DEMO, debounce=1)
    assert calibrate(heavy, budget).threshold > calibrate(light, budget).threshold


@given(
    seed=st.integers(0, 1000),
    pages=st.floats(0.01, 100_000),
    more=st.floats(1.0, 1000.0),
    memory=st.sampled_from([0.0, 0.6, 0.95]),
)
@settings(deadline=None, max_examples=60)
def test_the_threshold_does_not_rise_when_the_budget_grows(seed: int, pages: float, more: float, memory: float) -> None:
    scores = calm(2, 120, memory, seed)
    small, large = replace(DEMO, pages_per_week=pages), replace(DEMO, pages_per_week=pages * more)
    low = calibrate(scores, large, resamples=20, seed=seed)
    high = calibrate(scores, small, resamples=20, seed=seed)
    assert low.threshold <= high.threshold
    assert 0 <= high.threshold < 1
    assert high.low <= high.threshold <= high.high


def test_more_families_share_one_budget() -> None:
    scores = calm(2, 500, 0.5, seed=1)
    alone, shared = (calibrate(scores, replace(DEMO, families=families)) for families in (1, 7))
    assert shared.threshold > alone.threshold
    assert shared.rate <= DEMO.pages_per_week / 7


def test_the_same_scores_and_seed_give_the_same_threshold() -> None:
    scores = calm(2, 90, 0.9, seed=1)
    assert calibrate(scores, DEMO, phases=5, seed=3) == calibrate(scores, DEMO, phases=5, seed=3)


def test_scores_that_never_move_leave_a_threshold_above_them() -> None:
    fit = calibrate(np.full((2, 90), 0.4), DEMO, phases=5)
    assert 0.4 < fit.threshold < 0.6
    assert fit.seen == 0


def test_too_short_a_calm_is_refused() -> None:
    with pytest.raises(ModelError, match="at least 20"):
        calibrate(calm(1, 21, 0.5, seed=1), DEMO)
    with pytest.raises(ModelError, match="at least 20"):
        calibrate(np.full((3, 100), np.nan), DEMO)
