from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.betting import STAKES, interval, log_wealth, median_interval, signs_needed
from tonewatch.errors import ModelError

values = st.lists(st.floats(-1, 1), min_size=1, max_size=40).map(lambda each: np.array(each))


def test_the_wealth_is_what_a_gambler_has_who_stakes_by_hand() -> None:
    seen, mean = [0.5, -1.0, 0.25], 0.1
    purses = [1.0 / len(STAKES)] * len(STAKES)
    for value, logged in zip(seen, log_wealth(np.array(seen), mean), strict=True):
        purses = [
            purse * (1 + stake / (1 + mean) * (value - mean)) for purse, stake in zip(purses, STAKES, strict=True)
        ]
        assert logged == pytest.approx(math.log(sum(purses)))


def test_nobody_is_expected_to_win_where_the_mean_is_what_he_bets_against() -> None:
    # Two equally likely values around the mean: the wealth after one is 1 on the average, and so after any number.
    both = log_wealth(np.array([[0.7], [-0.3]]), 0.2)
    assert np.exp(both).mean() == pytest.approx(1.0)


@given(values, st.randoms())
def test_the_order_of_the_values_changes_nothing(seen: np.ndarray, dice: object) -> None:
    turned = np.array(sorted(seen))
    assert interval(seen, 0.05) == pytest.approx(interval(turned, 0.05), abs=1e-5)


@given(values)
def test_the_interval_holds_the_mean_and_turns_round_with_the_values(seen: np.ndarray) -> None:
    low, high = interval(seen, 0.05)
    assert -1 <= low <= seen.mean() + 1e-9
    assert seen.mean() - 1e-9 <= high <= 1
    assert interval(-seen, 0.05) == pytest.approx((-high, -low), abs=1e-5)


@settings(max_examples=25)
@given(values, st.floats(-0.9, 0.9))
def test_a_bound_is_where_the_gambler_wins(seen: np.ndarray, mean: float) -> None:
    low, _ = interval(seen, 0.05)
    won = log_wealth(seen, mean)[-1] >= math.log(2 / 0.05)
    assert won == (mean <= low) or abs(mean - low) < 1e-5


def test_nothing_seen_bounds_nothing() -> None:
    assert interval(np.empty(0), 0.05) == (-1.0, 1.0)
    assert median_interval(np.empty(0), 0.05) == (-math.inf, math.inf)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, 1.5, -2.0])
def test_what_is_not_within_its_range_is_refused(wrong: float) -> None:
    with pytest.raises(ModelError, match="divide"):
        interval(np.array([0.1, wrong]), 0.05)


def test_the_signs_needed_are_the_fewest_that_win() -> None:
    needed = signs_needed(60, 0.01)
    assert needed[5] > 5  # none of so few is enough
    for count in (12, 37, 60):
        for above, wins in ((needed[count], True), (needed[count] - 1, False)):
            signs = np.array([1.0] * above + [-1.0] * (count - above))
            assert bool(log_wealth(signs, 0.0)[-1] >= math.log(100)) is wins


def test_a_median_is_bounded_by_values_and_no_outlier_moves_it() -> None:
    ratios = np.linspace(9.0, 11.0, 101)
    low, high = median_interval(ratios, 0.05)
    assert 9.0 < low < 10.0 < high < 11.0
    ratios[-1] = 1e9
    assert median_interval(ratios, 0.05) == (low, high)
