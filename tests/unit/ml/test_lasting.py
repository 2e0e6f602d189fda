"""Reports are confirmed as the samples come: the same that ml.episodes.confirmed finds in the whole."""

from __future__ import annotations

import numpy as np
import pytest

from ml.ensemble import Judged
from ml.episodes import confirmed
from ml.lasting import Floats, Lasting

SERIES, ROUNDS = 40, 300


def told(missing: float, seed: int = 1) -> tuple[Floats, Floats, Floats, Floats]:
    """Scores, expected, actual and values of many series that shift now and then; some rounds have no sample."""
    chance = np.random.default_rng(seed)
    values = chance.normal(size=(SERIES, ROUNDS)) + 3.0 * (chance.random((SERIES, ROUNDS)) < 0.01).cumsum(axis=1)
    scores = np.where(chance.random(values.shape) < 0.1, chance.random(values.shape), 0.0)
    expected = values - chance.normal(size=values.shape) * 2
    absent = chance.random(values.shape) < missing
    scores[absent] = values[absent] = np.nan
    scores[:, :5] = np.nan  # nothing is judged yet, and yet values come
    return scores, expected, values.copy(), values


def online(run: int, scores: Floats, expected: Floats, actual: Floats, values: Floats) -> list[tuple[int, int, float]]:
    """(round, row, score) of each confirmed report."""
    lasting, found = Lasting(run), []
    look = np.zeros(SERIES, np.int8)
    for number in range(ROUNDS):
        at = (each[:, number] for each in (scores, scores, expected, actual, values, values))
        score, strangeness, base, came, since, value = at
        judged = Judged(score, strangeness, look, base, came, since, value)
        for each in lasting.step(number, np.full(SERIES, float(number)), judged):
            assert each["time"] == each["round"]
            found.append((number, int(each["row"]), float(each["score"])))
    return found


def whole(run: int, scores: Floats, expected: Floats, actual: Floats, values: Floats) -> list[tuple[int, int, float]]:
    found = confirmed(scores, expected, actual, values, run)
    return sorted((int(at), int(row), float(found[row, at])) for row, at in zip(*np.nonzero(found > 0), strict=True))


@pytest.mark.parametrize("run", [1, 2, 5, 11])
def test_where_nothing_is_missing_the_same_is_confirmed_in_the_same_round(run: int) -> None:
    series = told(0.0)
    found = online(run, *series)
    assert len(found) > 100
    assert sorted(found) == whole(run, *series)


def test_where_samples_are_missing_the_same_is_confirmed_at_most_a_round_later() -> None:
    series = told(0.3)
    found, expected = online(5, *series), whole(5, *series)
    late = {(row, score): number for number, row, score in found}
    ended = {(row, score): number for number, row, score in expected if number + 2 < ROUNDS}
    assert ended.keys() <= late.keys()
    delays = [late[key] - number for key, number in ended.items()]
    assert set(delays) <= {0, 1, 2}
    assert delays.count(0) > len(delays) / 2


def test_a_report_of_a_dropped_series_is_dropped_with_it() -> None:
    lasting = Lasting(3)
    one = np.array([0.9])
    judged = Judged(one, one, np.zeros(1, np.int8), np.zeros(1), np.ones(1), one, np.ones(1))
    lasting.step(0, np.zeros(1), judged)
    assert len(lasting.waiting) == 1
    lasting.forget(np.array([0]))
    assert len(lasting.waiting) == 0
