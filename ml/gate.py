"""The offline gate: is a model that was just learned worse than the champion on calm that neither has to answer for?

Copies of the held-out calm get seeded anomalies; both models are asked for the same ones, each at the threshold by
which it keeps to the page budget on that calm. Pure: what is read comes in as arrays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml.detectors.base import Floats
from ml.detectors.family import FamilyDetector, Strands

Flags = npt.NDArray[np.bool_]
#: How many anomalies are injected, how large, in robust standard deviations of their features, and how long beyond the
#: run that opens an incident, in ticks.
INJECTED, SIZES, LONGER = 120, (4.0, 40.0), 5
#: A challenger is worse if so many more missed than found anomalies, compared in pairs, are rarer than this by chance.
CHANCE = 0.05
SHAPES = ("shift", "drift", "variance")


@dataclass(frozen=True, slots=True, eq=False)
class Anomalies:
    """Calm with anomalies in it. values: (anomalies, before + length, features), the anomaly in the last `length`."""

    values: Floats
    length: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """What numbers each feature can have at all, and the smallest difference worth noticing, (features,) each."""

    low: Floats
    high: Floats
    floors: Floats


def inject(calm: Strands, bounds: Bounds, run: int, before: int, *, seed: int) -> Anomalies | None:
    """Seeded anomalies in copies of the calm: level shifts, drifts, more noise; of one feature, or half of them.

    run: ticks that open an incident; before: rows that come with each, NaN where the calm does not reach back so far.
    None: no strand is long enough for a run.
    """
    strands, ticks, width = calm.values.shape
    length = min(run + LONGER, ticks)
    places = [
        (strand, first)
        for strand in range(strands)
        for first in range(ticks - length + 1)
        if calm.judged[strand, first : first + length].all()
    ]
    if length < run or not places:
        return None
    chance = np.random.default_rng([seed, 77])
    rows = calm.values[calm.judged]
    known = np.where(np.isfinite(rows), rows, np.nan)
    some = np.flatnonzero(np.isfinite(known).any(axis=0))
    centre = np.nanmedian(known[:, some], axis=0)
    spread = np.full(width, np.nan)
    spread[some] = np.maximum(1.4826 * np.nanmedian(np.abs(known[:, some] - centre), axis=0), bounds.floors[some])
    values = np.full((INJECTED, before + length, width), np.nan)
    for number in range(INJECTED):
        strand, first = places[int(chance.integers(len(places)))]
        kept = min(before, first)
        values[number, before - kept :] = calm.values[strand, first - kept : first + length]
        count = 1 if number % 2 else max(1, len(some) // 2)
        hit = chance.choice(some, size=count, replace=False)
        size = math.exp(chance.uniform(*np.log(SIZES)))
        values[number, before:] = _hurt(values[number, before:], hit, size * spread, bounds, number, chance)
    return Anomalies(values, length)


def _hurt(
    rows: Floats, hit: npt.NDArray[np.int64], by: Floats, bounds: Bounds, number: int, chance: np.random.Generator
) -> Floats:
    """The rows with an anomaly in the features `hit`, within what numbers there can be."""
    shape = SHAPES[number % len(SHAPES)]
    time = np.linspace(0.0, 1.0, len(rows))
    moves = {
        "shift": np.ones(len(rows)),
        "drift": np.minimum(2 * time, 1.0),
        "variance": chance.standard_normal(len(rows)),
    }[shape]
    hurt = rows.copy()
    for column in hit:
        sign = 1.0 if chance.random() < 0.5 else -1.0
        moved = [
            np.clip(rows[:, column] + way * moves * by[column], bounds.low[column], bounds.high[column])
            for way in (sign, -sign)
        ]
        # what cannot become smaller, because it is 0 already, becomes larger
        first, second = (float(np.nansum(np.abs(each - rows[:, column]))) for each in moved)
        hurt[:, column] = moved[0] if first >= 0.5 * second else moved[1]
    return hurt


def found(detector: FamilyDetector, threshold: float, notable: float, anomalies: Anomalies, run: int) -> Flags:
    """Which anomalies would have opened an incident, (anomalies,): a run of windows, all strange and notable."""
    values = anomalies.values[:, anomalies.values.shape[1] - anomalies.length - detector.looks_back :]
    scores = detector.strangeness(values)
    rows = values[:, detector.looks_back :].reshape(-1, values.shape[2])
    far = np.zeros(len(rows), dtype=np.bool_)
    usable = detector.usable(rows)
    far[usable] = (np.abs(detector.distances(rows[usable])) >= notable).any(axis=1)
    strange = (scores > threshold) & far.reshape(scores.shape)
    in_a_row = np.zeros(len(strange), dtype=np.int64)
    met = np.zeros(len(strange), dtype=np.bool_)
    for tick in strange.T:
        in_a_row = np.where(tick, in_a_row + 1, 0)
        met |= in_a_row >= run
    return met


def recall_interval(flags: Flags) -> tuple[float, float]:
    """The 90 % interval of the share that was found (Wilson)."""
    count, share, z = len(flags), float(flags.mean()), 1.645
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return max(0.0, centre - half), min(1.0, centre + half)


def count_interval(count: float) -> tuple[float, float]:
    """The 90 % interval of the rate that gave the count (Garwood: Fiducial limits for the Poisson distribution,
    Biometrika 28, 1936).
    """
    from scipy.stats import chi2  # half a second that only a training pays

    return (float(chi2.ppf(0.05, 2 * count) / 2) if count > 0 else 0.0, float(chi2.ppf(0.95, 2 * count + 2) / 2))


def worse(challenger: Flags, champion: Flags) -> float:
    """How likely it is by chance that so many of the anomalies that one alone found are the champion's (sign test)."""
    lost, won = int((champion & ~challenger).sum()), int((challenger & ~champion).sum())
    if lost <= won:
        return 1.0
    return float(sum(math.comb(lost + won, count) for count in range(lost, lost + won + 1)) / 2 ** (lost + won))
