from __future__ import annotations

import numpy as np
import pytest

from ml.detectors.base import Floats
from ml.detectors.isolation_forest import ForestDetector
from tonewatch.errors import ModelError

NAMES = ("lag", "errors", "frames", "bytes")
FLOORS = (0.05, 0.01, 1.0, 500.0)


def calm(count: int = 200, seed: int = 0) -> Floats:
    chance = np.random.default_rng(seed)
    return np.column_stack(
        [
            np.abs(chance.normal(0.1, 0.1, count)),
            np.zeros(count),  # constant, as errors are
            chance.normal(94.0, 3.0, count),
            chance.normal(16000.0, 900.0, count),
        ]
    )


@pytest.fixture(scope="module")
def detector() -> ForestDetector:
    return ForestDetector(NAMES, FLOORS, seed=1).fit(calm())


def test_scores_lie_between_0_and_1_and_rise_with_the_distance(detector: ForestDetector) -> None:
    rows = np.array([[0.1, 0.0, frames, 16000.0] for frames in (94.0, 60.0, 30.0, 0.0)])
    scores = detector.score(rows)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert (np.diff(scores) > 0).all()


def test_inside_the_envelope_the_score_is_the_forests(detector: ForestDetector) -> None:
    rows = calm()
    assert detector.pipeline is not None
    np.testing.assert_allclose(detector.score(rows), -detector.pipeline.score_samples(rows))


@pytest.mark.parametrize(("rows", "width"), [(20, 3), (400, 8)])
def test_the_forests_part_of_the_score_is_scikit_learns_bit_for_bit(rows: int, width: int) -> None:
    names, chance = [f"feature_{number}" for number in range(width)], np.random.default_rng(rows)
    learned = ForestDetector(names, [1e-6] * width).fit(chance.normal(size=(rows, width)))
    asked = chance.normal(size=(300, width))
    assert learned.pipeline is not None
    distances = learned.pipeline[:-1].transform(asked)
    beyond = np.maximum(np.max(np.abs(distances) / learned.limits, axis=1), 1.0)
    theirs = -learned.pipeline[-1].score_samples(distances)
    np.testing.assert_array_equal(learned.score(asked), 1.0 - (1.0 - np.clip(theirs, 0.0, 1.0)) / beyond)


def test_calm_rows_that_were_not_learned_score_below_a_strange_one(detector: ForestDetector) -> None:
    strange = np.array([[0.1, 0.3, 94.0, 16000.0]])  # errors alone, a feature that never moved before
    assert detector.score(strange)[0] > np.quantile(detector.score(calm(seed=2)), 0.99)


def test_a_constant_feature_counts_in_floors_and_does_not_explode(detector: ForestDetector) -> None:
    explained = detector.explain(np.array([0.1, 0.05, 94.0, 16000.0]))
    assert explained["errors"] == pytest.approx(5.0)


def test_a_constant_feature_of_rounding_size_is_not_strange(detector: ForestDetector) -> None:
    still, moved = detector.score(np.array([[0.1, 0.0, 94.0, 16000.0], [0.1, 1e-9, 94.0, 16000.0]]))
    assert moved == pytest.approx(still, abs=1e-6)


def test_the_explanation_names_the_farthest_feature_first_with_its_direction(detector: ForestDetector) -> None:
    explained = detector.explain(np.array([0.1, 0.0, 0.0, np.nan]))
    assert next(iter(explained)) == "frames"
    assert explained["frames"] < -10
    assert "bytes" not in explained


def test_a_single_missing_value_is_filled_in_and_counted(detector: ForestDetector) -> None:
    whole, holed = np.array([[0.1, 0.0, 94.0, 16000.0]]), np.array([[0.1, np.nan, 94.0, np.inf]])
    detector.score(whole)
    assert detector.imputed == 0
    assert detector.score(holed)[0] < 0.6
    assert detector.imputed == 2


def test_a_row_with_too_few_values_is_refused(detector: ForestDetector) -> None:
    rows = np.array([[0.1, 0.0, 94.0, 16000.0], [np.nan, np.nan, np.nan, 16000.0]])
    assert detector.usable(rows).tolist() == [True, False]
    with pytest.raises(ModelError, match="1 of 2 rows"):
        detector.score(rows)


def test_rows_of_another_width_are_refused(detector: ForestDetector) -> None:
    with pytest.raises(ModelError, match="4 features"):
        detector.score(np.zeros((2, 3)))


def test_too_little_calm_telemetry_is_refused() -> None:
    with pytest.raises(ModelError, match="at least 20"):
        ForestDetector(NAMES, FLOORS).fit(calm(19))


def test_a_feature_that_was_never_seen_is_no_obstacle() -> None:
    rows = calm()
    rows[:, 1] = np.nan
    detector = ForestDetector(NAMES, FLOORS).fit(rows)
    assert np.isfinite(detector.score(rows)).all()


def test_a_detector_that_learned_nothing_says_so() -> None:
    with pytest.raises(ModelError, match="fit"):
        ForestDetector(NAMES, FLOORS).score(calm())


def test_the_same_seed_gives_the_same_scores() -> None:
    rows = calm(seed=3)
    first, second = (ForestDetector(NAMES, FLOORS, seed=5).fit(calm()).score(rows) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("threshold", [0.6, 0.8, 0.95])
def test_every_feature_alone_can_be_noticed_and_a_higher_threshold_needs_more(
    detector: ForestDetector, threshold: float
) -> None:
    noticed = detector.noticed(threshold)
    assert set(noticed) == set(NAMES)
    assert all(np.isfinite(shift) for shift in noticed.values())
    assert all(noticed[name] <= detector.noticed(0.97)[name] for name in NAMES)


def test_no_rows_have_no_scores(detector: ForestDetector) -> None:
    assert detector.score(np.empty((0, 4))).shape == (0,)
