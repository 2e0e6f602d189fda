"""Single series and the page budget: from the ensemble's reports to incidents, by what live would do."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from scipy.signal import lfilter

from ml.calibration import Budget, calibrate
from ml.ensemble import QUIET, default_ensemble
from ml.episodes import confirmed
from tasks.backtest import incidents
from tasks.calibrate import STREAMED, Floats, Way, calm_of_series, disturbed, episodes_of, family_of, unexplained
from tasks.train import chains_of
from tests.unit.platform_parts import at, two_channels
from tonewatch.errors import ModelError
from tonewatch.records import Change, Series

PLATFORM = two_channels()
NAMES = [Series(entity, "scrape_seconds") for entity in sorted(PLATFORM.entities)]
CHAINS = chains_of(PLATFORM, [name.entity for name in NAMES])
MINUTE, LEARNS, CALM, TEST, RUN = 60.0, 1_000, 8_000, 2_000, 5
BUDGET = Budget(1, 7 * 1440 * MINUTE, MINUTE, 3, 120.0, 60.0)
#: When the fault begins in the test, and of which series it is.
ONSET, HIT = 1_000, 3
EDGE = "edge:edge-1"


def work(entity: str, first: float, until: float, kind: str = "maintenance") -> Change:
    return Change("c", kind, entity, at(first), at(until), "somebody", "work")


def reported(shift: float) -> Floats:
    """Confirmed scores of noisy series with a memory, of which one moves by so many standard deviations."""
    noise = np.random.default_rng(3).standard_normal((len(NAMES), LEARNS + CALM + TEST))
    values = lfilter([0.6], [1, -0.8], noise, axis=1)
    values[HIT, LEARNS + CALM + ONSET :] += shift
    ensemble = default_ensemble()
    state = ensemble.begin(len(NAMES))
    told = []
    for step in range(values.shape[1]):
        state, judged = ensemble.score(state, np.full(len(NAMES), step * MINUTE), values[:, step])
        told.append((judged.score, judged.expected, judged.actual))
    score, expected, actual = (
        np.stack(each, axis=1)[:, LEARNS:].astype(np.float64) for each in zip(*told, strict=True)
    )
    return confirmed(score, expected, actual, values[:, LEARNS:], RUN)


@pytest.fixture(scope="module")
def scores() -> Floats:
    return reported(8.0)


def opened(scores: Floats) -> list[tuple[str, float]]:
    """(entity, tick) of what opens in the test, with the threshold that the calm before it allows."""
    calm = calm_of_series(NAMES, scores[:, :CALM], CHAINS, np.zeros((len(NAMES), CALM), np.bool_))
    family = family_of(NAMES[0])
    threshold = calibrate(calm, BUDGET, resamples=20).thresholds[family].value
    ends = [at(tick * MINUTE) for tick in range(TEST)]
    rows = [(name.entity, "series") for name in NAMES]
    episodes = list(episodes_of("t", rows, scores[:, CALM:], [threshold] * len(rows), ends, STREAMED))
    past = incidents(episodes, PLATFORM, ends[-1], {each.finding.id for each in episodes})
    return [(each.findings[0].entity, (each.opened - at(0)) / timedelta(seconds=MINUTE)) for each in past]


def test_a_fault_of_a_single_series_fires_once_when_it_has_lasted(scores: Floats) -> None:
    assert opened(scores) == [(NAMES[HIT].entity, ONSET + RUN - 1)]


def test_the_same_series_without_the_fault_open_nothing() -> None:
    assert opened(reported(0.0)) == []


def test_series_of_one_metric_are_a_family_with_one_run_and_the_ensembles_hold(scores: Floats) -> None:
    calm = calm_of_series(NAMES, scores, CHAINS, np.zeros(scores.shape, np.bool_))
    assert list(calm) == ["series:scrape_seconds"]
    assert (calm["series:scrape_seconds"].run, calm["series:scrape_seconds"].hold) == (1, QUIET)


def test_a_metric_that_was_never_judged_has_no_family() -> None:
    told = np.full((len(NAMES), 10), np.nan)
    assert calm_of_series(NAMES, told, CHAINS, np.zeros(told.shape, np.bool_)) == {}


def test_scores_of_other_series_are_refused(scores: Floats) -> None:
    with pytest.raises(ModelError, match="for 2 series"):
        calm_of_series(NAMES[:2], scores, CHAINS, np.zeros(scores.shape, np.bool_))


def test_announced_work_disturbs_its_part_and_what_that_feeds() -> None:
    ends = [at(tick * MINUTE) for tick in range(30)]
    told = disturbed([EDGE, "channel:ch1", "component:origin"], ends, [work(EDGE, 600, 900)], PLATFORM)
    assert told[0].nonzero()[0].tolist() == [10, 11, 12, 13, 14, 15]
    np.testing.assert_array_equal(told[0], told[1])
    assert not told[2].any()
    assert not disturbed([EDGE], ends, [work(EDGE, 600, 900, "release")], PLATFORM).any()


def test_what_announced_work_explains_is_left_out() -> None:
    ends = [at(tick * MINUTE) for tick in range(30)]
    scores = np.zeros((1, 30))
    scores[0, [5, 12]] = 0.9
    told = list(episodes_of("t", [(EDGE, "series")], scores, [0.5], ends, Way(1, 0)))
    left = unexplained(told, [work(EDGE, 600, 900)], PLATFORM)
    assert [each.finding.ended for each in left] == [ends[5]]
