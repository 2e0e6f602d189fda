"""The ensemble on single series: calm, faults, and every kind of bad input."""

from __future__ import annotations

import numpy as np
import pytest

from ml.detectors.level import Level
from ml.detectors.stream import Floats, StreamState
from ml.ensemble import LEAST, QUIET, Ensemble, Judged, default_ensemble
from tonewatch.errors import ModelError

CALM = 300


def noise(rows: int = CALM, series: int = 1, seed: int = 0) -> Floats:
    """(series, rows) around 100."""
    return np.asarray(np.random.default_rng(seed).normal(100.0, 2.0, (series, rows)))


def follow(
    values: Floats, times: Floats | None = None, *, counters: bool = False, state: StreamState | None = None
) -> tuple[list[Judged], StreamState]:
    """What the default ensemble says to (series, rows) of values, one minute apart."""
    ensemble = default_ensemble()
    series, rows = values.shape
    if state is None:
        state = ensemble.begin(series, np.full(series, counters))
    every = np.arange(rows) * 60.0 if times is None else times
    told = []
    for row in range(rows):
        state, judged = ensemble.score(state, np.full(series, every[row]), values[:, row])
        told.append(judged)
    return told, state


def scores(told: list[Judged]) -> Floats:
    return np.stack([judged.score for judged in told], axis=1)


def strangeness(told: list[Judged]) -> Floats:
    return np.stack([judged.strangeness for judged in told], axis=1)


def test_a_jump_is_stranger_than_all_of_the_calm_before_it_and_explains_itself() -> None:
    values = noise()
    values[0, -1] = 200.0
    told, _ = follow(values)
    found = strangeness(told)[0]
    assert found[-1] > 1.3 * np.nanmax(found[:-1])
    why = default_ensemble().explain(told[-1], 0)
    assert why["actual"] == pytest.approx(200.0)
    assert 90.0 < why["expected"] < 110.0
    assert why["look"] == "level"
    assert why["since"] <= 60.0 * (CALM - 1)


def test_an_episode_is_reported_once_and_again_only_when_it_gets_worse() -> None:
    values = np.concatenate([noise(), noise(10) + 100.0, noise(10) + 1e6], axis=1)
    found = scores(follow(values)[0])[0]
    first, second = found[CALM : CALM + 10], found[CALM + 10 :]
    assert first[0] > 0
    assert (first[4:] == 0).all()  # the mean of four has arrived
    assert second[0] > first.max()


def test_what_happened_once_is_known_when_it_happens_again() -> None:
    values = noise(CALM + 3 * QUIET)
    values[0, CALM] = values[0, CALM + 2 * QUIET] = 150.0
    found = strangeness(follow(values)[0])[0]
    assert found[CALM + 2 * QUIET] < 0.6 * found[CALM]


def test_a_series_is_judged_alone_as_among_others() -> None:
    values = noise(series=5, seed=3)
    together = strangeness(follow(values)[0])
    alone = np.concatenate([strangeness(follow(values[place : place + 1])[0]) for place in range(5)])
    np.testing.assert_array_equal(together, alone)


def test_more_series_than_a_block_are_all_judged() -> None:
    ensemble = Ensemble([(Level(), 1.0)], least=2)
    state = ensemble.begin(2500)
    for row in range(4):
        state, judged = ensemble.score(state, np.full(2500, float(row)), np.arange(2500.0))
    assert judged.score.shape == (2500,)
    assert not np.isnan(judged.score).any()


def test_a_snapshot_goes_on_bit_for_bit_with_its_cursor() -> None:
    values = noise(CALM, series=3)
    values[1, 50:90] = np.nan
    half = CALM // 2
    _, state = follow(values[:, :half])
    restored, cursor = default_ensemble().restored(state.snapshot({"arrival": 7}))
    assert cursor == {"arrival": 7}
    rest = np.arange(half, CALM) * 60.0
    kept, known = follow(values[:, half:], rest, state=restored)
    straight, same = follow(values[:, half:], rest, state=state)
    np.testing.assert_array_equal(scores(kept), scores(straight))
    assert known.snapshot({}) == same.snapshot({})


@pytest.mark.parametrize(
    "spoil", [lambda whole: whole[:-8], lambda whole: whole + b"x", lambda _: b"", lambda _: b"{}\n"]
)
def test_a_broken_snapshot_is_refused(spoil: object) -> None:
    whole = default_ensemble().begin(2).snapshot({"arrival": 1})
    with pytest.raises(ModelError, match="replay"):
        default_ensemble().restored(spoil(whole))  # type: ignore[operator]  # one of the four above


def test_a_snapshot_of_another_ensemble_is_refused() -> None:
    with pytest.raises(ModelError, match="another ensemble"):
        default_ensemble().restored(Ensemble([(Level(), 1.0)]).begin(2).snapshot({}))


def test_the_state_is_small_and_does_not_grow() -> None:
    ensemble = default_ensemble()
    assert ensemble.begin(1).bytes_per_series <= 4096
    _, state = follow(noise(3 * CALM))
    assert state.bytes_per_series == ensemble.begin(1).bytes_per_series


def test_shapes_that_do_not_fit_are_refused_with_what_to_do() -> None:
    ensemble = default_ensemble()
    with pytest.raises(ModelError, match="NaN where there is none"):
        ensemble.score(ensemble.begin(3), np.zeros(2), np.zeros(2))
    with pytest.raises(ModelError, match="yes or no"):
        ensemble.begin(3, np.zeros(2, bool))
    with pytest.raises(ModelError, match="name of its own"):
        Ensemble([(Level(), 1.0), (Level(), 1.0)])


# --- bad input -------------------------------------------------------------------------------------------------------


def test_of_an_all_missing_series_nothing_is_judged_and_others_are() -> None:
    values = noise(series=2)
    values[0] = np.nan
    found = scores(follow(values)[0])
    assert np.isnan(found[0]).all()
    assert not np.isnan(found[1, LEAST:]).any()


def test_of_a_two_point_series_nothing_is_judged() -> None:
    assert np.isnan(scores(follow(np.array([[1.0, 1e6]]))[0])).all()


def test_a_missing_value_is_not_judged_and_changes_nothing() -> None:
    values = noise()
    holed = np.insert(values, 200, np.nan, axis=1)
    times = np.insert(np.arange(CALM) * 60.0, 200, 199.5 * 60.0)
    found, straight = scores(follow(holed, times)[0]), scores(follow(values)[0])
    assert np.isnan(found[0, 200])
    np.testing.assert_array_equal(np.delete(found, 200, axis=1), straight)


@pytest.mark.parametrize("bad", [np.inf, -np.inf])
def test_an_infinite_value_is_missing(bad: float) -> None:
    values = noise()
    values[0, 200] = bad
    found = scores(follow(values)[0])[0]
    assert np.isnan(found[200])
    assert not np.isnan(found[201:]).any()


def test_a_constant_series_is_calm_and_its_first_change_is_strange() -> None:
    values = np.full((2, CALM), [[0.0], [7.0]])
    values[:, -1] += 1.0
    found = scores(follow(values)[0])
    assert (found[:, LEAST + 1 : -1] == 0).all()
    assert (found[:, -1] > 0.5).all()


def test_rounding_on_a_constant_series_is_not_strange() -> None:
    values = 1e9 + np.random.default_rng(0).normal(0.0, 1.0, (1, CALM))
    assert np.nanmax(strangeness(follow(values)[0])) < 0.1


def test_an_exploding_series_stays_finite_and_strange() -> None:
    values = noise(CALM + 100)
    values[0, CALM:] = 100.0 * 1e4 ** np.arange(1, 101).clip(max=75)
    found = strangeness(follow(values)[0])[0]
    assert not np.isnan(found[CALM:]).any()
    assert found[CALM] > 0.6


def test_another_unit_is_one_episode_and_then_known() -> None:
    values = noise(3 * CALM)
    values[0, CALM:] *= 1000.0
    found = scores(follow(values)[0])[0]
    assert found[CALM] > 0.5
    assert found[2 * CALM :].max() < 0.6 * found[CALM]


def test_a_counters_reset_is_not_judged_and_its_stop_is_strange() -> None:
    values = np.cumsum(noise(), axis=1)
    values[0, 200:] -= values[0, 199]  # started anew
    told, _ = follow(np.concatenate([values, np.full((1, 3), values[0, -1])], axis=1), counters=True)
    found = strangeness(told)[0]
    assert np.isnan(found[200])
    assert not np.isnan(found[201:]).any()
    assert found[CALM] > 1.3 * np.nanmax(found[:CALM])
    assert told[CALM].actual[0] == pytest.approx(0.0, abs=1.0)


def test_times_that_do_not_advance_are_not_judged() -> None:
    times = np.arange(CALM) * 60.0
    times[200] = times[199]
    times[210] = times[100]
    found = scores(follow(noise(), times)[0])[0]
    assert np.isnan(found[[200, 210]]).all()
    assert not np.isnan(np.delete(found, [200, 210])[LEAST + 1 :]).any()


def test_at_irregular_times_a_jump_is_as_strange_as_at_regular_ones() -> None:
    times = np.cumsum(np.random.default_rng(1).uniform(20.0, 100.0, CALM))
    values = noise()
    values[0, -1] = 200.0
    irregular, regular = strangeness(follow(values, times)[0])[0], strangeness(follow(values)[0])[0]
    assert not np.isnan(irregular[LEAST:]).any()
    assert irregular[-1] == pytest.approx(regular[-1], abs=0.02)


def test_the_step_over_a_gap_is_not_taken_for_a_jump() -> None:
    drift = np.linspace(0.0, 60.0, CALM)[None, :]
    values = noise() + drift
    times = np.arange(CALM) * 60.0
    values[0, 200:] += 20.0
    gap = times.copy()
    gap[200:] += 6 * 3600.0
    assert strangeness(follow(values, gap)[0])[0, 200] != strangeness(follow(values, times)[0])[0, 200]
    assert default_ensemble().explain(follow(values[:, :201], gap[:201])[0][-1], 0)["look"] == "level"


def test_a_clock_that_jumps_backward_and_stays_there_leaves_the_series_unjudged() -> None:
    times = np.arange(CALM) * 60.0
    times[200:] -= 1e6
    found = scores(follow(noise(), times)[0])[0]
    assert np.isnan(found[200:]).all()
