"""The LSTM in small. TensorFlow takes seconds to import: all tests of it are here, and without it most are left out."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from ml.detectors.lstm_forecast import LstmForecastDetector, Weights, family_network
from tests.unit.ml.detectors.test_row_detectors import FLOORS, NAMES, calm
from tonewatch.errors import ModelError


def deviations(seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    detector = LstmForecastDetector(NAMES, FLOORS)
    rows = calm(700, seed=seed)
    return detector.levels.fit(rows).plain(rows)


@pytest.fixture(scope="module")
def network() -> Weights:
    pytest.importorskip("tensorflow", reason="the optional group `learning` is not installed")
    return family_network([deviations(0), deviations(1)], units=8, epochs=3, seed=1)


@pytest.fixture(scope="module")
def learned(network: Weights) -> LstmForecastDetector:
    return LstmForecastDetector(NAMES, FLOORS, network=network, scaled=True).fit(calm(700))


def test_the_same_seed_gives_the_same_network(network: Weights) -> None:
    again = family_network([deviations(0), deviations(1)], units=8, epochs=3, seed=1)
    for one, other in zip(network, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_fault_scores_above_calm_rows_and_no_score_depends_on_a_later_row(learned: LstmForecastDetector) -> None:
    rows = calm(120, seed=2, begin=700)
    rows[100:110, 2] = 0.5
    scores = learned.score(rows)
    assert scores[100:110].min() > scores[:100].max()
    np.testing.assert_allclose(scores[:60], learned.score(rows[:60]), rtol=1e-4)
    before = np.concatenate([learned.before, rows[:60]])[-learned.looks_back :]
    np.testing.assert_allclose(learned.score(rows[60:], before), scores[60:], rtol=1e-4)


def test_what_was_kept_scores_the_same_and_bad_rows_are_refused_or_numbers(learned: LstmForecastDetector) -> None:
    rows = calm(20, seed=2, begin=700)
    rows[3, 1], rows[4, 1] = np.nan, 1e300
    scores = learned.score(rows)
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(LstmForecastDetector.restored(learned.kept()).score(rows), scores, rtol=1e-6)
    assert learned.score(rows[:0]).shape == (0,)
    with pytest.raises(ModelError, match="do not fit"):
        learned.score(rows[:, :4])
    with pytest.raises(ModelError, match="learn the model again"):
        LstmForecastDetector.restored(learned.kept() | {"format": 0})


def test_a_family_has_the_same_series() -> None:
    with pytest.raises(ModelError, match="the same series"):
        family_network([deviations(), deviations()[:, :3]])


def test_without_tensorflow_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(ModelError, match="make learning"):
        LstmForecastDetector(NAMES, FLOORS).fit(calm(300))
