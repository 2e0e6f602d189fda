from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.calibration import Budget, Calibration, Calm, Floats, calibrate, debounced, incidents
from tonewatch.errors import ModelError

DEMO = Budget(pages_per_week=1, week_seconds=630, tick_seconds=5, debounce=3, lasting_seconds=30, reach_seconds=60)


def scores(entities: int, windows: int, memory: float, seed: int) -> Floats:
    """Scores whose -log(1 - score) is a normal AR(1)."""
    chance = np.random.default_rng(seed)
    levels = np.empty((entities, windows))
    levels[:, 0] = chance.standard_normal(entities)
    for window in range(1, windows):
        levels[:, window] = memory * levels[:, window - 1]
        levels[:, window] += np.sqrt(1 - memory**2) * chance.standard_normal(entities)
    return -np.expm1(-np.maximum(0.7 + 0.15 * levels, 0.01))


def calm(told: Floats, *, notable: bool = True, groups: list[int] | None = None) -> Calm:
    return Calm(told, np.full(told.shape, notable), groups or list(range(len(told))))


def alone(told: Floats, budget: Budget = DEMO, **options: int) -> Calibration:
    return calibrate({"edge": calm(told)}, budget, **options)


def values(fit: Calibration) -> dict[str, float]:
    return {family: threshold.value for family, threshold in fit.thresholds.items()}


def opened(told: Floats, budget: Budget, **of: list[int]) -> float:
    return incidents({"edge": calm(told, **of)}, {"edge": 0.5}, budget)  # type: ignore[arg-type]


def flat(*above: tuple[int, int], windows: int = 100) -> Floats:
    """One entity, above 0.5 in the windows of these ranges."""
    told = np.full((1, windows), 0.1)
    for first, last in above:
        told[0, first:last] = 0.9
    return told


def test_an_incident_is_a_run_of_windows_that_lasts() -> None:
    assert DEMO.run == 9
    assert opened(flat((10, 18)), DEMO) == 0
    assert opened(flat((10, 19)), DEMO) == 1
    assert opened(flat((10, 60)), DEMO) == 1


def test_a_missing_or_unremarkable_window_breaks_a_run() -> None:
    told = flat((10, 25))
    told[0, 17] = np.nan
    assert opened(told, DEMO) == 0
    of = calm(flat((10, 25)))
    of.notable[0, 17] = False
    assert incidents({"edge": of}, {"edge": 0.5}, DEMO) == 0


def test_what_comes_up_again_within_reach_is_the_same_incident() -> None:
    assert DEMO.reach == 12
    assert opened(flat((10, 20), (21, 31)), DEMO) == 1
    assert opened(flat((10, 20), (50, 60)), DEMO) == 2


def test_related_entities_open_one_incident_and_strangers_one_each() -> None:
    told = np.vstack([flat((10, 20)), flat((14, 30))])
    assert opened(told, DEMO, groups=[0, 0]) == 1
    assert opened(told, DEMO, groups=[0, 1]) == 2


def test_families_of_one_group_open_one_incident_together() -> None:
    both = {"edge": calm(flat((10, 20)), groups=[0]), "origin": calm(flat((12, 30)), groups=[0])}
    assert incidents(both, {"edge": 0.5, "origin": 0.5}, DEMO) == 1


def test_windows_between_ticks_are_debounced_a_tick_apart() -> None:
    told = np.array([[0.9, 0.1, 0.8, 0.2, 0.7, 0.3]])
    np.testing.assert_array_equal(debounced(told, 3, phases=2), [[0.7, 0.1]])
    at_once = replace(DEMO, lasting_seconds=0, reach_seconds=0)
    assert incidents({"edge": calm(told)}, {"edge": 0.5}, at_once, phases=2) == 0.5  # one of the two phases


def test_fewer_windows_than_a_run_needs_make_none() -> None:
    assert debounced(np.ones((2, 2)), 3).shape == (2, 0)


def test_the_aim_keeps_the_budget_in_95_percent_of_weeks() -> None:
    chance = np.random.default_rng(1)
    for pages, together in ((2.0, 1.0), (2.0, 1.6), (5.0, 1.0)):
        mean = replace(DEMO, pages_per_week=pages).per_week(together)
        occasions = chance.poisson(mean / together, 40_000)
        weeks = np.array([chance.geometric(1 / together, count).sum() for count in occasions])
        assert np.mean(weeks <= pages) == pytest.approx(0.95, abs=0.005)


def test_a_budget_below_a_page_a_week_is_a_page_in_so_many() -> None:
    assert replace(DEMO, pages_per_week=0.05).per_week() == pytest.approx(DEMO.per_week() / 20)


def test_a_long_calm_stretch_keeps_fresh_calm_within_the_aim() -> None:
    budget = Budget(400, 7 * 86400, tick_seconds=15, debounce=3, lasting_seconds=30, reach_seconds=60)
    fresh = scores(4, 100_000, 0.6, seed=100)
    for seed in range(3):
        fit = alone(scores(4, 5760, 0.6, seed), budget, seed=seed, resamples=50)
        week = 7 * 86400 / 15
        assert incidents({"edge": calm(fresh)}, values(fit), budget) / (100_000 / week) <= 1.5 * fit.aim
        assert fit.rate <= fit.aim * 1.001


def test_a_budget_that_the_stretch_can_show_is_spent_not_hoarded() -> None:
    budget = Budget(9_000, 7 * 86400, tick_seconds=15, debounce=1)
    fit = alone(scores(4, 5760, 0.3, seed=1), budget, resamples=50)
    assert fit.tail == "seen"
    spent = incidents({"edge": calm(scores(4, 50_000, 0.3, seed=2))}, values(fit), budget) / (50_000 / 40_320)
    assert 0.5 <= spent / fit.aim <= 1.5


def test_a_heavy_tail_is_met_with_a_higher_threshold() -> None:
    light = scores(2, 3000, 0.5, seed=1)
    levels = -np.log1p(-light)
    heavy = -np.expm1(-np.where(levels > np.quantile(levels, 0.9), levels * 1.5, levels))
    budget = replace(DEMO, debounce=1, lasting_seconds=0, reach_seconds=0)
    assert values(alone(heavy, budget))["edge"] > values(alone(light, budget))["edge"]


def test_one_level_is_as_rare_in_every_family() -> None:
    quiet = scores(2, 6000, 0.5, seed=1)
    wild = -np.expm1(3 * np.log1p(-scores(2, 6000, 0.5, seed=2)))  # three times as far on -log(1 - score)
    fit = calibrate({"edge": calm(quiet), "origin": calm(wild, groups=[2, 3])}, DEMO, resamples=20)
    above = [np.mean(told > values(fit)[name]) for told, name in ((quiet, "edge"), (wild, "origin"))]
    assert values(fit)["origin"] > values(fit)["edge"]
    assert above == pytest.approx([fit.exceedance] * 2, abs=0.01)


def test_what_is_merely_strange_is_not_paid_for_where_enough_is_notable() -> None:
    told = scores(6, 6000, 0.9, seed=1)
    budget = replace(DEMO, lasting_seconds=0, reach_seconds=0, pages_per_week=20)
    half = Calm(told, np.repeat([[True], [False]], 3, axis=0) & np.ones_like(told, dtype=np.bool_), range(6))
    fit = calibrate({"edge": half}, budget, resamples=20)
    assert values(fit)["edge"] < values(alone(told, budget, resamples=20))["edge"]


@given(
    seed=st.integers(0, 1000),
    pages=st.floats(0.01, 10_000),
    more=st.floats(1.0, 1000.0),
    memory=st.sampled_from([0.0, 0.6, 0.95]),
)
@settings(deadline=None, max_examples=40)
def test_the_threshold_does_not_rise_when_the_budget_grows(seed: int, pages: float, more: float, memory: float) -> None:
    told = scores(2, 120, memory, seed)
    small, large = replace(DEMO, pages_per_week=pages), replace(DEMO, pages_per_week=min(pages * more, 10_000))
    low = alone(told, large, resamples=20, seed=seed).thresholds["edge"]
    high = alone(told, small, resamples=20, seed=seed).thresholds["edge"]
    if large.per_week() >= small.per_week():
        assert low.value <= high.value
    assert 0 <= high.value < 1
    assert high.low <= high.value <= high.high


def test_more_families_share_one_budget() -> None:
    one = {"edge": calm(scores(2, 2000, 0.5, seed=1))}
    more = one | {f"family-{n}": calm(scores(2, 2000, 0.5, seed=n), groups=[2 * n, 2 * n + 1]) for n in range(2, 8)}
    few, many = calibrate(one, DEMO, resamples=20), calibrate(more, DEMO, resamples=20)
    assert values(many)["edge"] > values(few)["edge"]
    assert many.rate <= DEMO.per_week() * 1.001


def test_the_same_scores_and_seed_give_the_same_threshold() -> None:
    told = scores(2, 120, 0.9, seed=1)
    assert alone(told, phases=5, seed=3) == alone(told, phases=5, seed=3)


def test_scores_that_never_move_leave_a_threshold_above_them() -> None:
    fit = alone(np.full((2, 90), 0.4), phases=5)
    assert 0.4 < values(fit)["edge"] < 0.6
    assert fit.seen == 0


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (scores(1, 19, 0.5, seed=1), "19 calm windows of edge"),
        (np.full((3, 100), np.nan), "0 calm windows of edge"),
        (scores(1, 27, 0.5, seed=1), "19 calm runs of 9 windows"),
    ],
)
def test_too_short_a_calm_is_refused(told: Floats, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        alone(told)


def test_families_of_different_stretches_are_refused() -> None:
    told: Mapping[str, Calm] = {"edge": calm(scores(1, 90, 0.5, 1)), "origin": calm(scores(1, 80, 0.5, 1))}
    with pytest.raises(ModelError, match="same windows"):
        calibrate(told, DEMO)


def test_a_family_may_have_a_run_of_its_own_and_hold_on() -> None:
    told = flat((10, 11), (40, 41), (90, 91))
    once = Calm(told, np.ones(told.shape, np.bool_), [0], run=1)
    assert incidents({"edge": calm(told)}, {"edge": 0.5}, DEMO) == 0
    assert incidents({"edge": once}, {"edge": 0.5}, DEMO) == 3
    assert incidents({"edge": replace(once, hold=20)}, {"edge": 0.5}, DEMO) == 2


def test_families_with_different_runs_are_held_against_each_other_at_the_same_moment() -> None:
    once = Calm(flat((18, 19)), np.ones((1, 100), np.bool_), [0], run=1)
    both = {"edge": calm(flat((10, 19))), "series": once}  # the run of nine ends where the other has its one
    assert incidents(both, {"edge": 0.5, "series": 0.5}, DEMO) == 1


def test_rare_outliers_of_one_family_raise_its_own_threshold_not_that_of_the_others() -> None:
    usual, other = (scores(4, 20_000, 0.3, seed=seed) for seed in (5, 6))
    outlying = usual.copy()
    chance = np.random.default_rng(7)
    outlying[chance.integers(0, 4, 60), chance.integers(0, 20_000, 60)] = -np.expm1(-chance.uniform(3, 5, 60))
    budget = replace(DEMO, week_seconds=100_000, debounce=1, lasting_seconds=0)
    fit = values(calibrate({"a": calm(outlying), "b": calm(other)}, budget, resamples=20))
    assert -np.log1p(-fit["a"]) > 4
    assert -np.log1p(-fit["b"]) < 3
