"""What a family lends a series that has just begun."""

from __future__ import annotations

import numpy as np
import pytest

from ml import prior
from ml.detectors.stream import StreamState
from ml.ensemble import LEAST, default_ensemble
from ml.fingerprint import fingerprint

SIBLINGS, KNOWN_ROUNDS = 6, 400
ENSEMBLE = default_ensemble()
LEVELS = (10.0, 60.0)


def family() -> tuple[StreamState, int]:
    """Siblings that have seen two levels, and a newcomer's row that has had its first value at the lower one."""
    chance = np.random.default_rng(1)
    state = ENSEMBLE.begin(SIBLINGS + 1)
    for number in range(KNOWN_ROUNDS):
        level = LEVELS[(number // 50) % 2]
        values = np.append(level + chance.normal(size=SIBLINGS), np.nan)
        ENSEMBLE.score(state, np.full(SIBLINGS + 1, number * 60.0), values)
    ENSEMBLE.score(state, np.full(SIBLINGS + 1, KNOWN_ROUNDS * 60.0), np.append(np.full(SIBLINGS, np.nan), LEVELS[0]))
    return state, SIBLINGS


def lived(lent: bool, level: float, rounds: int = 60) -> np.ndarray:
    """The newcomer's scores in its first rounds, which go to another level after twenty."""
    state, row = family()
    if lent:
        assert prior.lend(state, row, np.arange(SIBLINGS), LEAST)
    chance, told = np.random.default_rng(2), []
    for number in range(rounds):
        value = (LEVELS[0] if number < 20 else level) + chance.normal()
        at = np.full(SIBLINGS + 1, (KNOWN_ROUNDS + 1 + number) * 60.0)
        _, judged = ENSEMBLE.score(state, at, np.append(np.full(SIBLINGS, np.nan), value))
        told.append(judged.score[row])
    return np.array(told)


def test_a_newcomer_without_a_family_is_silent_and_one_with_it_soon_is_not() -> None:
    assert np.isnan(lived(False, LEVELS[0])).all()
    judged = np.flatnonzero(~np.isnan(lived(True, LEVELS[0])))
    assert judged[0] <= prior.PROBATION
    assert len(judged) == 60 - judged[0]


def test_what_is_usual_in_the_family_is_no_news_of_a_newcomer_and_what_is_not_is() -> None:
    usual, strange = (np.nanmax(lived(True, level)[20:]) for level in (LEVELS[1], 400.0))
    assert usual < 0.5 < strange


def test_what_is_lent_is_the_first_to_go() -> None:
    state, row = family()
    prior.lend(state, row, np.arange(SIBLINGS), LEAST)
    used, known = state.arrays["used"][row, 0], state.arrays["known"][row, 0]
    assert (np.diff(known[np.isfinite(known)]) > 0).all()
    assert set(used[np.isfinite(known)]) == {0}
    assert set(used[np.isinf(known)]) == {-1}


def test_nobody_lends_where_no_sibling_is_known_or_the_newcomer_has_no_value() -> None:
    state, row = family()
    before = state.copy()
    assert not prior.lend(state, row, np.empty(0, np.int64), LEAST)
    state.arrays["seen"][row] = 0
    assert not prior.lend(state, row, np.arange(SIBLINGS), LEAST)
    np.testing.assert_array_equal(state.arrays["known"], before.arrays["known"])


def test_a_fingerprint_is_of_what_scores_follow_from(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint(default_ensemble())
    assert fingerprint(default_ensemble()) == before
    other = default_ensemble()
    other.weights[0] *= 2
    assert fingerprint(other) != before
    monkeypatch.setattr("ml.detectors.memory.OUTWARD", 0.2)
    assert fingerprint(default_ensemble()) != before
