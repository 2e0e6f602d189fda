"""Series of a small platform, tick by tick, as tests of what follows them need it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np

from ml.ensemble import default_ensemble
from ml.fingerprint import fingerprint
from policy.conditions import Condition
from tasks.follow import Follower, family_of
from tasks.tell import Teller
from tests.unit.platform_parts import START, at, two_channels
from tonewatch.records import Sample, Series, SeriesKind
from tonewatch.settings import load_profile
from warehouse.calibrations import Calibrated, Source

PLATFORM = two_channels()
#: Ticks of 5 s, runs of 3 + 30 / 5 rounds.
PROFILE = load_profile("demo")
TICK, RUN = PROFILE.tick_seconds, 9
EDGES = ("edge:edge-1", "edge:edge-2")
LAG = [Series(entity, "lag_seconds", unit="s") for entity in EDGES]


def fit(metric: str, threshold: float = 0.5) -> Calibrated:
    """A threshold of that metric's family, of today's ensemble."""
    name, version = family_of(Series("a:b", metric)), fingerprint(default_ensemble())
    return Calibrated(name, version, START, threshold, 0.2, 0.4, 0.25, 0.05, "exponential", Source.TRAINING, "calm")


def teller(*metrics: str, limit: int = 1_000, threshold: float = 0.5) -> Teller:
    made = Teller(Follower(limit))
    made.thresholds = {each.family: each for each in (fit(metric, threshold) for metric in metrics)}
    return made


def noise(series: int, ticks: int, seed: int = 1, level: float = 10.0) -> np.ndarray:
    """(series, ticks): calm values."""
    return level + np.random.default_rng(seed).normal(size=(series, ticks)).clip(-2.5, 2.5)


def sampled(names: Sequence[Series], values: np.ndarray, first: int = 0) -> list[list[Sample]]:
    """What each tick brings: of every series a sample one second before it; NaN: none."""
    return [
        [
            Sample(name, at((first + tick + 1) * TICK - 1), float(value))
            for name, value in zip(names, column, strict=True)
            if not np.isnan(value)
        ]
        for tick, column in enumerate(values.T)
    ]


def ended(tick: int) -> datetime:
    """When that tick is."""
    return at((tick + 1) * TICK)


def played(made: Teller, ticks: Iterable[Sequence[Sample]], first: int = 0) -> list[list[Condition]]:
    """What is told in each tick."""
    told = []
    for number, samples in enumerate(ticks, first):
        made.follower.hear(samples)
        told.append(made.tick(ended(number), PLATFORM, PROFILE))
    return told


def counter(name: Series) -> Series:
    return replace(name, kind=SeriesKind.COUNTER)
