"""The page budget on fresh calm, by what live does: conditions tick by tick, placed by correlation's own grouping.

The calm is simulated: an autocorrelated heavy-tailed noise of each entity's features, and shocks common to all (a busy
host) whose size has infinite variance. Thresholds come from a week of it; then other weeks are lived through.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pytest
from scipy.signal import lfilter

from feature_store.definitions import by_family
from ml.calibration import Budget, Calm, calibrate, debounced
from policy.grouping import REACH, Group, group
from tasks.train import chains_of
from tests.unit.platform_parts import at, two_channels
from tonewatch.records import Finding, FindingKind

PLATFORM = two_channels()
FAMILIES = by_family(PLATFORM.entities.values())
CHAINS = chains_of(PLATFORM, [entity for entities in FAMILIES.values() for entity in entities])
WEEK = 2016  # ticks
TICK = 5.0
DEBOUNCE, LASTING = 3, 30.0
BUDGET = Budget(2, WEEK * TICK, TICK, DEBOUNCE, LASTING, REACH.total_seconds())
SEEDS, WEEKS = range(8), 25


def week(chance: np.random.Generator) -> dict[str, Calm]:
    """A week of calm scores, as the forest's envelope makes them of distances in robust standard deviations."""
    shocks = (chance.random(WEEK) < 1 / 150) * (chance.pareto(2.0, WEEK) + 1) * 1.5
    common = lfilter([1], [1, -0.9], shocks)
    found = {}
    for number, (family, entities) in enumerate(FAMILIES.items()):
        own = 0.7 * 0.6 * chance.standard_t(4, (len(entities), WEEK))
        far = np.abs(lfilter([1], [1, -0.8], own, axis=1)) + (0.4 + 0.1 * number) * common
        forest = 0.4 + 0.3 * np.tanh(far / 4)
        scores = 1 - (1 - forest) / np.maximum(far / 5, 1)
        found[family] = Calm(scores, far >= 4, [CHAINS[entity] for entity in entities])
    return found


@dataclass(frozen=True)
class Anomaly:
    finding: Finding
    lasting: int  # the tick from which on it may open an incident by itself


def anomalies(calm: Mapping[str, Calm], thresholds: Mapping[str, float]) -> Iterator[Anomaly]:
    for family, of in calm.items():
        held = debounced(np.where(of.notable, of.scores, np.nan), DEBOUNCE) > thresholds[family]
        for entity, row in zip(FAMILIES[family], held, strict=True):
            edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
            for begin, end in zip(edges[::2], edges[1::2], strict=True):
                if (end - 1 - begin) * TICK >= LASTING:
                    when = at(float(begin) * TICK)
                    finding = Finding(
                        "t", entity, family, FindingKind.SIGNAL, when, when, summary="", symptom="anomaly"
                    )
                    yield Anomaly(finding, int(begin + LASTING // TICK))


def lived(calm: Mapping[str, Calm], thresholds: Mapping[str, float]) -> int:
    """Incidents that a week opens; one takes in what is related for REACH after it last grew."""
    opened = 0
    active: list[tuple[int, Group]] = []
    told = sorted(anomalies(calm, thresholds), key=lambda one: one.lasting)
    for tick in sorted({one.lasting for one in told}):
        active = [(grew, one) for grew, one in active if (tick - grew) * TICK <= REACH.total_seconds()]
        now = [one.finding for one in told if one.lasting == tick]
        groups = [one for _, one in active]
        touched = group(now, groups, PLATFORM, [finding.id for finding in now])
        fresh = [one for one in touched if all(one is not known for known in groups)]
        opened += len(fresh)
        active = [(tick if any(one is t for t in touched) else grew, one) for grew, one in active]
        active += [(tick, one) for one in fresh]
    return opened


@dataclass(frozen=True)
class Outcome:
    """Of all seeds: incidents per fresh week, and each family's threshold in robust standard deviations' logarithm."""

    weeks: list[int]
    heights: list[float]

    @property
    def kept(self) -> float:
        return float(np.mean([count <= BUDGET.pages_per_week for count in self.weeks]))


def together(calm: Mapping[str, Calm], seed: int) -> dict[str, float]:
    fit = calibrate(calm, BUDGET, seed=seed, resamples=50)
    return {family: threshold.value for family, threshold in fit.thresholds.items()}


def apart(calm: Mapping[str, Calm], seed: int) -> dict[str, float]:
    """What this replaced: each family alone, its findings within its share of the budget."""
    share = Budget(BUDGET.pages_per_week / len(calm), BUDGET.week_seconds, TICK, DEBOUNCE)
    found = {}
    for family, of in calm.items():
        alone = Calm(of.scores, np.ones_like(of.notable), range(len(of.scores)))
        found[family] = calibrate({family: alone}, share, seed=seed, resamples=50).thresholds[family].value
    return found


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    found = {}
    for way in (together, apart):
        weeks, heights = [], []
        for seed in SEEDS:
            thresholds = way(week(np.random.default_rng(seed)), seed)
            fresh = np.random.default_rng([seed, 1])  # the same weeks for both
            weeks += [lived(week(fresh), thresholds) for _ in range(WEEKS)]
            heights += [float(-np.log1p(-min(value, 1 - 1e-15))) for value in thresholds.values()]
        found[way.__name__] = Outcome(weeks, heights)
    return found


def test_incidents_keep_to_the_budget_in_95_percent_of_fresh_weeks(outcomes: dict[str, Outcome]) -> None:
    assert outcomes["together"].kept >= 0.95


def test_each_family_alone_spends_less_and_sees_less(outcomes: dict[str, Outcome]) -> None:
    ours, theirs = outcomes["together"], outcomes["apart"]
    assert np.mean(theirs.weeks) < 0.75 * np.mean(ours.weeks)
    # On -log(1 - score) a height of log(far) more needs a fault so many times as far from calm to be seen.
    assert np.median(np.subtract(theirs.heights, ours.heights)) > np.log(1.5)
