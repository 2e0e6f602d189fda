from __future__ import annotations

import numpy as np
import pytest

from ml.detectors.base import Floats
from ml.detectors.distance import DistanceDetector
from ml.detectors.neighbours import NeighboursDetector
from ml.detectors.ridge_forecast import RidgeForecastDetector
from ml.row_ensemble import RowEnsemble, Tail, running_mean
from tests.unit.ml.detectors.test_row_detectors import FLOORS, NAMES, RECENT, calm
from tonewatch.errors import ModelError

KINDS = (DistanceDetector, NeighboursDetector, RidgeForecastDetector)


@pytest.fixture(scope="module")
def learned() -> RowEnsemble:
    return RowEnsemble(NAMES, FLOORS, recent=RECENT).fit(calm())


def faulty(count: int = 300) -> Floats:
    rows = calm(count, seed=1, begin=1500)
    rows[200:210, 2] = 0.5
    return rows


def test_a_fault_raises_alarms_and_calm_rows_hardly_any(learned: RowEnsemble) -> None:
    alarms = learned.alarms(faulty())
    assert alarms[200:210].all()
    assert alarms[:200].mean() < 0.02


def test_the_score_is_the_surprise_on_0_to_1_in_the_same_order(learned: RowEnsemble) -> None:
    scores, surprise = learned.score(faulty()), learned.surprise(faulty())
    assert ((scores >= 0) & (scores < 1)).all()
    np.testing.assert_array_equal(np.argsort(scores), np.argsort(surprise))


def test_no_surprise_depends_on_a_later_row(learned: RowEnsemble) -> None:
    rows = faulty()
    np.testing.assert_allclose(learned.surprise(rows)[:150], learned.surprise(rows[:150]), rtol=1e-9)


def test_pieces_score_as_one_go(learned: RowEnsemble) -> None:
    rows = faulty()
    before = np.concatenate([learned.before, rows[:180]])[-learned.looks_back :]
    pieces = np.concatenate([learned.surprise(rows[:180]), learned.surprise(rows[180:], before)])
    np.testing.assert_allclose(pieces, learned.surprise(rows), rtol=1e-6)


def test_learning_twice_gives_the_same(learned: RowEnsemble) -> None:
    again = RowEnsemble(NAMES, FLOORS, recent=RECENT).fit(calm())
    np.testing.assert_array_equal(again.surprise(faulty()), learned.surprise(faulty()))
    assert again.threshold == learned.threshold


def test_a_lasting_small_fault_becomes_more_surprising_than_its_first_row(learned: RowEnsemble) -> None:
    rows = calm(100, seed=1, begin=1500)
    rows[50:80, 3] += 0.15
    surprise = learned.surprise(rows)
    assert surprise[70] > 1.3 * surprise[50]


def test_an_event_in_the_training_rows_hardly_moves_the_threshold(learned: RowEnsemble) -> None:
    rows = calm()
    rows[700:730, 2] = 0.5
    unclean = RowEnsemble(NAMES, FLOORS, recent=RECENT).fit(rows)
    assert unclean.threshold < 2 * learned.threshold
    assert unclean.alarms(faulty())[200:210].all()


def test_the_explanation_names_the_series_at_fault_first(learned: RowEnsemble) -> None:
    assert next(iter(learned.explain(faulty()[200]))) == "errors"
    holed = faulty()[200]
    holed[0] = np.nan
    assert "load" not in learned.explain(holed)


def test_what_was_kept_says_the_same(learned: RowEnsemble) -> None:
    again = RowEnsemble.restored(learned.kept(), KINDS)
    np.testing.assert_array_equal(again.surprise(faulty()), learned.surprise(faulty()))
    np.testing.assert_array_equal(again.alarms(faulty()), learned.alarms(faulty()))


def test_a_kept_ensemble_of_another_format_or_with_a_stranger_is_refused(learned: RowEnsemble) -> None:
    with pytest.raises(ModelError, match="of format 9 is no RowEnsemble"):
        RowEnsemble.restored(learned.kept() | {"format": 9}, KINDS)
    with pytest.raises(ModelError, match="unknown kind: NeighboursDetector"):
        RowEnsemble.restored(learned.kept(), (DistanceDetector, RidgeForecastDetector))


def test_bad_rows_are_refused_or_none(learned: RowEnsemble) -> None:
    assert learned.score(np.empty((0, 5))).shape == (0,)
    assert learned.distances(np.empty((0, 5))).shape == (0, 5)
    with pytest.raises(ModelError, match="2 of 2 rows lack"):
        learned.score(np.full((2, 5), np.nan))
    with pytest.raises(ModelError, match="do not fit"):
        learned.score(np.zeros((2, 4)))
    with pytest.raises(ModelError, match="10 usable rows"):
        RowEnsemble(NAMES, FLOORS).fit(calm(10))
    with pytest.raises(ModelError, match="learned nothing"):
        RowEnsemble(NAMES, FLOORS).score(calm(10))


def test_a_machine_that_stands_still_can_be_learned() -> None:
    still = RowEnsemble(NAMES, FLOORS).fit(np.full((400, 5), 0.3))
    rows = np.full((20, 5), 0.3)
    rows[19, 0] = 0.6
    assert still.alarms(rows).tolist() == [False] * 19 + [True]


def test_members_must_fit_the_ensemble() -> None:
    with pytest.raises(ModelError, match="needs members"):
        RowEnsemble(NAMES, FLOORS, members={})
    with pytest.raises(ModelError, match="its own series"):
        RowEnsemble(NAMES, FLOORS, members={"one": DistanceDetector(NAMES[:2], FLOORS[:2])})
    with pytest.raises(ModelError, match="takes the ensemble's 600 rows"):
        RowEnsemble(NAMES, FLOORS, recent=600, members={"one": DistanceDetector(NAMES, FLOORS, recent=60)})
    with pytest.raises(ModelError, match="not 'luck'"):
        RowEnsemble(NAMES, FLOORS, weighing="luck")


def test_a_member_that_disagrees_weighs_less_by_agreement() -> None:
    weighed = RowEnsemble(NAMES, FLOORS, weighing="agreement").fit(calm())
    assert weighed.weights["forecast"] > 0.05
    assert len(set(weighed.weights.values())) == 4


def test_a_tail_goes_on_where_calm_values_end_and_events_do_not_widen_it() -> None:
    calm_values = np.random.default_rng(0).exponential(size=20_000)
    tail = Tail.of(calm_values, 0.9)
    assert tail.level(1e-3) == pytest.approx(np.log(1000), rel=0.1)
    assert (np.diff(tail.surprise(np.linspace(0, 50, 500))) >= 0).all()
    unclean = Tail.of(np.concatenate([calm_values, np.full(400, 500.0)]), 0.9)
    assert unclean.level(1e-3) < 1.5 * tail.level(1e-3)


def test_the_running_mean_halves_in_its_half_life() -> None:
    assert running_mean(np.array([1.0] + [0.0] * 20), 10.0)[10] == pytest.approx(0.5)
    assert running_mean(np.empty(0), 10.0).shape == (0,)
