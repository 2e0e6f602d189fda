"""What strange series tell: conditions that explain themselves, for as long as it lasts, one finding per episode."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from ml.ensemble import QUIET
from policy.conditions import Condition
from tasks.calibrate import STREAMED
from tasks.follow import family_of
from tasks.preserve import restored, snapshot
from tasks.tell import Teller, thresholds_of
from tests.unit.tasks.followed import EDGES, LAG, PROFILE, RUN, TICK, ended, fit, noise, played, sampled, teller
from tonewatch.errors import ModelError
from tonewatch.records import FindingKind, Series

CALM, ONSET = 150, 150


def shifted(size: float, lasts: int, ticks: int = 200, rows: int = 2) -> np.ndarray:
    """Calm values, of which the first series' rise by so much at ONSET for so many ticks."""
    values = noise(rows, ticks)
    values[0, ONSET : ONSET + lasts] += size
    return values


def ids(told: list[list[Condition]]) -> set[str]:
    return {each.finding("t").id for tick in told for each in tick}


def ticks_told(told: list[list[Condition]]) -> list[int]:
    return [number for number, tick in enumerate(told) if tick]


def test_a_shift_that_lasts_is_told_once_it_has_and_explains_itself() -> None:
    told = played(teller("lag_seconds"), sampled(LAG, shifted(20.0, 60)))
    assert ticks_told(told)[0] == ONSET + RUN - 1
    (said,) = told[ONSET + RUN - 1]
    assert (said.entity, said.detector, said.symptom) == (EDGES[0], family_of(LAG[0]), "anomaly")
    assert said.kind is FindingKind.SIGNAL
    assert said.since == ended(ONSET) - timedelta(seconds=1)
    assert said.model_version == fit("lag_seconds").model_version
    assert said.score > 0.5
    assert said.rate == 0.05
    assert said.summary.startswith("lag_seconds of edge:edge-1 ")
    assert " s instead of about " in said.summary
    assert said.expected.startswith("about ")
    assert f"since {said.since:%H:%M:%S}" in said.actual
    assert f"{said.score:.3f} strange, told above 0.500" in said.actual


def test_what_is_told_has_lasted_long_enough_to_open_an_incident() -> None:
    told = played(teller("lag_seconds"), sampled(LAG, shifted(20.0, 60)))
    (said,) = told[ONSET + RUN - 1]
    assert ended(ONSET + RUN - 1) - said.met >= timedelta(seconds=PROFILE.anomaly_seconds)
    assert said.met - said.since == timedelta(seconds=(PROFILE.debounce_windows - 1) * TICK)


def test_an_outlier_is_not_told() -> None:
    assert not any(played(teller("lag_seconds"), sampled(LAG, shifted(50.0, 1))))


def test_a_family_without_a_threshold_or_with_another_ensembles_tells_nothing() -> None:
    values = shifted(20.0, 60)
    assert not any(played(teller(), sampled(LAG, values)))
    other = replace(fit("lag_seconds"), version="000000000000")
    assert thresholds_of([other, fit("up")]) == {"series:up": fit("up")}


def test_it_holds_until_the_values_are_back_for_a_run() -> None:
    told = ticks_told(played(teller("lag_seconds"), sampled(LAG, shifted(20.0, 30))))
    assert told == list(range(ONSET + RUN - 1, ONSET + 30 + RUN - 1))


def test_what_does_not_come_back_has_become_usual_after_as_long_as_the_calibration_holds_it() -> None:
    told = ticks_told(played(teller("lag_seconds"), sampled(LAG, shifted(20.0, 200, 300))))
    assert told == list(range(ONSET + RUN - 1, ONSET + RUN + STREAMED.hold))


def test_what_grows_worse_is_the_same_finding_and_holds_on() -> None:
    values = shifted(10.0, 250, 400)
    values[0, ONSET + 80 :] += 100.0
    told = played(teller("lag_seconds"), sampled(LAG, values))
    assert len(ids(told)) == 1
    assert ticks_told(told)[-1] >= ONSET + 80 + RUN - 1 + QUIET - 1
    first, last = told[ONSET + RUN - 1][0], told[ONSET + 80 + RUN - 1][0]
    assert last.score > first.score
    assert last.summary == first.summary


def test_what_comes_again_while_repeats_are_kept_back_is_the_same_finding_and_later_another() -> None:
    values = shifted(10.0, 20, 500)
    values[0, ONSET + 60 : ONSET + 80] += 100.0
    told = played(teller("lag_seconds"), sampled(LAG, values))
    gap = [number for number in range(ONSET + 40, ONSET + 60) if told[number]]
    assert gap == []
    assert told[ONSET + 60 + RUN]
    assert len(ids(told)) == 1
    values = shifted(10.0, 20, 500)
    values[0, ONSET + 200 : ONSET + 230] += 100.0
    assert len(ids(played(teller("lag_seconds"), sampled(LAG, values)))) == 2


def test_of_two_series_of_one_metric_the_strangest_speaks() -> None:
    names = [Series(EDGES[0], "lag_seconds", (("loop", loop),), "s") for loop in ("main", "probe")]
    values = noise(2, 200)
    values[0, ONSET:] += 10.0
    values[1, ONSET + 5 :] += 100.0
    told = played(teller("lag_seconds"), sampled(names, values))
    first, second = told[ONSET + RUN - 1], told[ONSET + 5 + RUN - 1]
    assert ["loop=main" in each.actual for each in first] == [True]
    assert ["loop=probe" in each.actual for each in second] == [True]
    assert first[0].finding("t").id == second[0].finding("t").id


def same(one: Teller, other: Teller) -> bool:
    return snapshot(one) == snapshot(other)


def test_from_a_snapshot_it_goes_on_as_if_it_had_never_stopped() -> None:
    """Also in the middle of what waits to be confirmed, and of an episode."""
    ticks = sampled(LAG, shifted(20.0, 60, 260))
    whole = teller("lag_seconds")
    told = played(whole, ticks)
    for cut in (50, ONSET + 4, ONSET + RUN + 3):
        begun = teller("lag_seconds")
        played(begun, ticks[:cut])
        again = restored(snapshot(begun), 1_000)
        again.thresholds = begun.thresholds
        assert played(again, ticks[cut:], cut) == told[cut:]
        assert same(again, whole)


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (b'"layout": 2', b'"layout": 0'),
        (b'"fingerprint": "', b'"fingerprint": "0'),
        (b'"edge:edge-1", ', b""),
        (b'"episodes": ', b'"episodes": 3, "was": '),
        (b"\n", b""),
    ],
)
def test_a_snapshot_of_something_else_or_a_broken_one_is_refused(found: bytes, told: bytes) -> None:
    made = teller("lag_seconds")
    played(made, sampled(LAG, noise(2, 5)))
    kept = snapshot(made)
    changed = kept.replace(found, told, 1)
    assert changed != kept
    with pytest.raises(ModelError):
        restored(changed, 1_000)


@pytest.mark.parametrize("cut", [0, 10, -5])
def test_a_snapshot_that_was_cut_off_is_refused(cut: int) -> None:
    made = teller("lag_seconds")
    played(made, sampled(LAG, noise(2, 5)))
    with pytest.raises(ModelError):
        restored(snapshot(made)[:cut], 1_000)
