"""What every detector for rows of many series does, with good rows and with bad ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ml.detectors.base import Floats
from ml.detectors.distance import DistanceDetector
from ml.detectors.levels import CLIP, Levels
from ml.detectors.neighbours import NeighboursDetector
from ml.detectors.reconstruction import ReconstructionDetector
from ml.detectors.ridge_forecast import RidgeForecastDetector
from ml.detectors.rows import RowDetector
from ml.detectors.window_forest import WindowForestDetector
from tonewatch.errors import ModelError

NAMES = ("load", "busy", "errors", "depth", "free")
FLOORS = (0.01,) * 5
RECENT = 600
KINDS: dict[str, Callable[[int], RowDetector]] = {
    "distance": lambda recent: DistanceDetector(NAMES, FLOORS, recent=recent),
    "reconstruction": lambda recent: ReconstructionDetector(NAMES, FLOORS, recent=recent),
    "neighbours": lambda recent: NeighboursDetector(NAMES, FLOORS, recent=recent, size=300),
    "ridge": lambda recent: RidgeForecastDetector(NAMES, FLOORS, recent=recent),
    "ridge, scaled": lambda recent: RidgeForecastDetector(NAMES, FLOORS, recent=recent, lags=(1, 2), scaled=True),
    "ridge, season": lambda recent: RidgeForecastDetector(NAMES, FLOORS, recent=recent, lags=(1, 250), scaled=True),
    "forest": lambda recent: WindowForestDetector(NAMES, FLOORS, recent=recent, trees=20),
}


def calm(count: int = 1500, seed: int = 0, begin: int = 0) -> Floats:
    """Five series that move together; errors never move, as they do not in calm times."""
    chance = np.random.default_rng(seed)
    wave = np.sin(np.arange(begin, begin + count) / 40)
    load = 0.5 + 0.2 * wave + chance.normal(0, 0.02, count)
    busy = 0.8 * load + chance.normal(0, 0.01, count)
    depth = 0.1 + 0.05 * wave + chance.normal(0, 0.01, count)
    return np.column_stack([load, busy, np.zeros(count), depth, 1 - load])


@pytest.fixture(scope="module", params=KINDS)
def learned(request: pytest.FixtureRequest) -> RowDetector:
    return KINDS[request.param](RECENT).fit(calm())


def test_a_fault_scores_above_all_calm_rows_within_0_and_1(learned: RowDetector) -> None:
    rows = calm(300, seed=1, begin=1500)
    rows[200:210, 2] = 0.5  # errors
    rows[200:210, 1] = 0.1  # busy no longer follows load
    scores = learned.score(rows)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert np.median(scores[200:210]) > scores[:200].max()


def test_no_score_depends_on_a_later_row(learned: RowDetector) -> None:
    rows = calm(180, seed=1, begin=1500)
    rows[100:, :] = 7.0
    np.testing.assert_allclose(learned.score(rows)[:100], learned.score(rows[:100]), rtol=1e-9)


def test_pieces_score_as_one_go(learned: RowDetector) -> None:
    rows = calm(240, seed=1, begin=1500)
    before = np.concatenate([learned.before, rows[:120]])[-learned.looks_back :]
    pieces = np.concatenate([learned.score(rows[:120]), learned.score(rows[120:], before)])
    np.testing.assert_allclose(pieces, learned.score(rows), rtol=1e-9)


def test_what_was_kept_scores_the_same(learned: RowDetector) -> None:
    rows = calm(50, seed=1, begin=1500)
    again = type(learned).restored(learned.kept())
    np.testing.assert_array_equal(again.score(rows), learned.score(rows))


def test_a_model_of_another_kind_or_format_is_refused(learned: RowDetector) -> None:
    kept = learned.kept()
    with pytest.raises(ModelError, match="of format 0 is no"):
        type(learned).restored(kept | {"format": 0})
    with pytest.raises(ModelError, match="a kept Other of format"):
        type(learned).restored(kept | {"kind": "Other"})


def test_other_columns_are_refused(learned: RowDetector) -> None:
    with pytest.raises(ModelError, match="do not fit the model's 5 features"):
        learned.score(calm(10)[:, :4])
    with pytest.raises(ModelError, match="do not fit the model's 5 features"):
        learned.score(calm(10), calm(10)[:, :4])
    with pytest.raises(ModelError, match="do not fit the model's 5 features"):
        learned.fit(calm()[:, :4])


def test_no_rows_have_no_scores(learned: RowDetector) -> None:
    assert learned.score(np.empty((0, 5))).shape == (0,)
    assert learned.distances(np.empty((0, 5))).shape == (0, 5)


def test_rows_without_values_are_refused_and_one_hole_is_filled(learned: RowDetector) -> None:
    rows = calm(5, seed=1, begin=1500)
    rows[2, 0] = np.nan
    rows[3, 0] = np.inf
    assert np.isfinite(learned.score(rows)).all()
    assert np.isnan(learned.distances(rows)[[2, 3], 0]).all()
    rows[4] = np.nan
    with pytest.raises(ModelError, match="1 of 5 rows lack more than half"):
        learned.score(rows)


def test_an_exploding_series_is_strange_but_a_number(learned: RowDetector) -> None:
    rows = calm(20, seed=1, begin=1500)
    rows[15, 3], rows[16, 3] = 1e300, -1e300
    scores = learned.score(rows)
    assert np.isfinite(scores).all()
    assert scores[[15, 16]].min() > scores[:15].max()


def test_a_series_that_was_constant_is_strange_when_it_moves(learned: RowDetector) -> None:
    rows = calm(20, seed=1, begin=1500)
    rows[19, 2] = 0.3
    assert learned.score(rows)[19] > learned.score(rows)[:19].max()


def test_the_explanation_names_the_series_at_fault_first(learned: RowDetector) -> None:
    row = calm(1, seed=1, begin=1500)[0]
    row[2] = 0.5
    explained = learned.explain(row)
    assert next(iter(explained)) == "errors"
    assert explained["errors"] > 5


@pytest.mark.parametrize("kind", KINDS)
def test_too_few_rows_or_none_with_values_can_not_be_learned(kind: str) -> None:
    with pytest.raises(ModelError, match="0 usable rows"):
        KINDS[kind](0).fit(np.empty((0, 5)))
    with pytest.raises(ModelError, match="0 usable rows"):
        KINDS[kind](0).fit(np.full((500, 5), np.nan))
    with pytest.raises(ModelError, match="50 usable rows"):
        KINDS[kind](0).fit(calm(50))


@pytest.mark.parametrize("kind", KINDS)
def test_a_machine_that_stands_still_is_learned_and_its_first_move_is_strange(kind: str) -> None:
    still = KINDS[kind](0).fit(np.full((400, 5), 0.3))
    rows = np.full((20, 5), 0.3)
    rows[19, 0] = 0.6
    scores = still.score(rows)
    assert np.isfinite(scores).all()
    assert scores[19] > scores[:19].max()


@pytest.mark.parametrize("kind", KINDS)
def test_an_exploding_series_in_training_hides_no_other(kind: str) -> None:
    rows = calm()
    rows[700, 3] = 1e300
    detector = KINDS[kind](0).fit(rows)
    fault = calm(20, seed=1, begin=1500)
    fault[19, 2] = 0.5
    scores = detector.score(fault)
    assert np.isfinite(scores).all()
    assert scores[19] > scores[:19].max()


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_scored_or_kept_before_it_learned(kind: str) -> None:
    for use in (lambda: KINDS[kind](0).score(calm(5)), lambda: KINDS[kind](0).kept()):
        with pytest.raises(ModelError, match="call fit"):
            use()


def test_a_level_that_stays_becomes_normal_and_the_next_fault_is_seen() -> None:
    detector = DistanceDetector(NAMES, FLOORS, recent=RECENT).fit(calm())
    rows = calm(900, seed=1, begin=1500)
    rows[:, 2] += 0.4  # for good
    rows[860:865, 1] = 0.0
    scores = detector.score(rows)
    assert scores[:60].min() > 0.9
    assert scores[700:850].max() < 0.9
    assert scores[860:865].min() > scores[700:850].max()


def test_floors_and_the_recent_level_are_checked() -> None:
    with pytest.raises(ModelError, match="4 floors for 5 series"):
        DistanceDetector(NAMES, FLOORS[:4])
    with pytest.raises(ModelError, match="floor above 0"):
        DistanceDetector(NAMES, (0.0,) * 5)
    with pytest.raises(ModelError, match="multiple of 60"):
        Levels(FLOORS, 100)
    with pytest.raises(ModelError, match="at least 1 before it"):
        RidgeForecastDetector(NAMES, FLOORS, lags=(0, 5))


def test_a_deviation_is_clipped_so_that_one_series_is_not_everything() -> None:
    levels = Levels(FLOORS, 0).fit(calm())
    assert levels.plain(levels.filled(np.full((1, 5), 1e9))).max() == CLIP
