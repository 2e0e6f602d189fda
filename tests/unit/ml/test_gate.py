"""The gate's own parts: anomalies that can be, and a comparison that does not take chance for a difference."""

from __future__ import annotations

import numpy as np
import pytest

from ml import gate
from ml.detectors.family import Strands
from ml.detectors.isolation_forest import ForestDetector

RUN = 4


@pytest.fixture(scope="module")
def calm() -> Strands:
    """Two strands: a level with noise, a share that is 0 in calm, and a feature that is never told."""
    chance = np.random.default_rng(1)
    level = 10 + chance.standard_normal((2, 60))
    values = np.stack([level, np.zeros((2, 60)), np.full((2, 60), np.nan)], axis=2)
    judged = np.ones((2, 60), np.bool_)
    judged[0, 20] = False
    return Strands(values, judged)


BOUNDS = gate.Bounds(np.array([-np.inf, 0.0, 0.0]), np.array([np.inf, 1.0, 1.0]), np.array([0.5, 0.01, 0.01]))


def anomalies(calm: Strands, before: int = 0, seed: int = 0) -> gate.Anomalies:
    made = gate.inject(calm, BOUNDS, RUN, before, seed=seed)
    assert made is not None
    return made


def test_the_same_seed_gives_the_same_anomalies_and_another_gives_others(calm: Strands) -> None:
    first = anomalies(calm)
    np.testing.assert_array_equal(first.values, anomalies(calm).values)
    assert not np.array_equal(first.values, anomalies(calm, seed=1).values, equal_nan=True)
    assert first.values.shape == (gate.INJECTED, RUN + gate.LONGER, 3)


def test_anomalies_are_numbers_that_there_can_be_and_each_differs_from_calm(calm: Strands) -> None:
    values = anomalies(calm).values
    assert np.isnan(values[:, :, 2]).all()
    assert ((values[:, :, 1] >= 0) & (values[:, :, 1] <= 1)).all()
    moved = (values[:, :, 1] > 0).any(axis=1) | (np.abs(values[:, :, 0] - 10) > 4).any(axis=1)
    assert moved.mean() > 0.75


def test_what_lies_before_an_anomaly_is_calm_or_unknown(calm: Strands) -> None:
    before = anomalies(calm, before=8).values[:, :8, :2]
    known = before[np.isfinite(before).all(axis=2)]
    assert len(known) > gate.INJECTED
    assert (np.abs(known[:, 0] - 10) < 5).all()
    assert (known[:, 1] == 0).all()


def test_calm_that_is_shorter_than_a_run_gives_no_anomalies(calm: Strands) -> None:
    assert gate.inject(calm, BOUNDS, 61, 0, seed=0) is None
    assert gate.inject(Strands(calm.values, np.zeros((2, 60), np.bool_)), BOUNDS, RUN, 0, seed=0) is None


def test_an_anomaly_counts_as_found_after_a_run_of_strange_and_notable_windows(calm: Strands) -> None:
    detector = ForestDetector(("a", "b", "c"), (0.5, 0.01, 0.01), trees=20).teach([calm])
    highest = float(np.nanmax(detector.strangeness(calm.values)))
    made = anomalies(calm)
    found = gate.found(detector, highest, 4.0, made, RUN)
    assert 0.3 < found.mean() < 1.0
    assert not gate.found(detector, 1.0, 4.0, made, RUN).any()
    assert not gate.found(detector, highest, 1e9, made, RUN).any()
    assert not gate.found(detector, highest, 4.0, made, made.length + 1).any()
    assert gate.found(detector, highest, 4.0, made, 1).sum() >= found.sum()


def test_a_difference_that_chance_makes_is_none() -> None:
    base = np.zeros(100, np.bool_)
    champion, challenger = base.copy(), base.copy()
    champion[:52], challenger[2:50] = True, True
    assert gate.worse(challenger, champion) == pytest.approx(0.0625)
    assert gate.worse(champion, challenger) == 1.0
    champion[:60] = True
    assert gate.worse(challenger, champion) < 0.001
    assert gate.worse(base, base) == 1.0


def test_the_interval_of_a_share_holds_it_and_stays_within_0_and_1() -> None:
    for found in (0, 5, 120):
        flags = np.arange(120) < found
        low, high = gate.recall_interval(flags)
        assert 0 <= low <= flags.mean() <= high <= 1
        assert high > low
