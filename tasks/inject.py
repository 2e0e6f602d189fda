"""Inject: made anomalies go into copies of samples that were live, never into the stream, to see who would find them.

Which ones follow from a seed, the tenant and the beginning of the stretch alone, so that a repeat injects the same. An
amplitude counts in the series' own robust spread: the median deviation from its median, of a counter's from one sample
to the next; nothing is moved below 0 that never was. Pure: samples come in and copies go out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from tonewatch.errors import ModelError
from tonewatch.records import Sample, Series, SeriesKind, digest

Floats = npt.NDArray[np.float64]
#: Robust spreads by which an anomaly moves its series; logarithms are drawn evenly.
WEAKEST, STRONGEST = 3.0, 30.0
#: Of fewer samples nobody knows the spread.
LEAST_SAMPLES = 10
#: Median deviation to standard deviation, where values are normal.
TO_DEVIATION = 1.4826


class Shape(StrEnum):
    """What happens to the series while it lasts: as in the offline gate (ml/gate.py), what may hold for many windows.

    A spike and a value that stays where it was hardly ever do, whoever judges, and tell nothing of the two that are
    compared; missing samples are a finding of their own.
    """

    SHIFT = "shift"  # all of it is moved
    DRIFT = "drift"  # it is moved more and more
    VARIANCE = "variance"  # it is tossed to and fro


@dataclass(frozen=True, slots=True)
class Anomaly:
    """One made anomaly: the metric of the entity, all its series, from `start` up to `end`.

    amplitude: in robust spreads, signed; seed: of what is random in it; also: further metrics of the entity that move
    as far, each up or down: few faults move one alone.
    """

    id: str
    entity: str
    metric: str
    shape: Shape
    start: datetime
    end: datetime
    amplitude: float
    seed: int
    also: tuple[str, ...] = ()


def drawn(
    tenant: str,
    seed: int,
    candidates: Mapping[str, Sequence[str]],
    start: datetime,
    end: datetime,
    *,
    every: timedelta,
    length: timedelta,
) -> list[Anomaly]:
    """One anomaly of `length` in each `every` that lies whole in the stretch; none reaches into the next one's. Each
    moves one metric of an entity, or any number of them up to all.

    candidates: entity -> metrics that can be moved (`movable`). Raises ModelError: an anomaly longer than its room.
    """
    if not timedelta() < length <= every:
        raise ModelError(f"an anomaly of {length} does not fit into every {every}; make it shorter")
    entities, shapes = sorted(entity for entity, metrics in candidates.items() if metrics), tuple(Shape)
    found: list[Anomaly] = []
    for number in range((end - start) // every if entities else 0):
        begins = start + number * every
        own = int(digest(tenant, seed, begins.isoformat())[:15], 16)
        chance = np.random.default_rng(own)
        entity = entities[int(chance.integers(len(entities)))]
        metric = sorted(candidates[entity])[int(chance.integers(len(candidates[entity])))]
        amplitude = np.exp(chance.uniform(np.log(WEAKEST), np.log(STRONGEST))) * chance.choice([-1.0, 1.0])
        first = begins + float(chance.random()) * (every - length)
        shape = shapes[int(chance.integers(len(shapes)))]
        others = sorted({*candidates[entity]} - {metric})
        also = sorted(chance.choice(others, int(chance.integers(len(others) + 1)), replace=False)) if others else []
        name = digest(tenant, seed, begins.isoformat(), entity, metric, *also, str(shape))
        beside = tuple(map(str, also))
        found.append(Anomaly(name, entity, metric, shape, first, first + length, float(amplitude), own, beside))
    return found


def movable(samples: Iterable[Sample]) -> dict[str, list[str]]:
    """Entity -> metrics of which a series has a spread: what never changes has none to be measured in."""
    found: dict[str, set[str]] = {}
    for series, line in _lines(samples).items():
        if _spread(series, line) > 0:
            found.setdefault(series.entity, set()).add(series.metric)
    return {entity: sorted(metrics) for entity, metrics in sorted(found.items())}


def inject(samples: Sequence[Sample], anomaly: Anomaly) -> list[Sample]:
    """A copy of the samples with the anomaly in it, in order of series and time; `samples` stay as they are.

    What is not touched is the same sample. A counter goes on from where the anomaly left it.
    """
    told: list[Sample] = []
    for series, line in _lines(samples).items():
        if series.entity == anomaly.entity and series.metric in (anomaly.metric, *anomaly.also):
            told += _changed(series, line, _as_in(anomaly, series.metric))
        else:
            told += line
    return told


def _as_in(anomaly: Anomaly, metric: str) -> Anomaly:
    """What it does to one of its metrics: of those beside the first, by chance, the reverse."""
    if metric == anomaly.metric:
        return anomaly
    own = int(digest(anomaly.seed, metric)[:15], 16)
    return replace(anomaly, amplitude=anomaly.amplitude * (1 if own % 2 else -1), seed=own)


def _lines(samples: Iterable[Sample]) -> dict[Series, list[Sample]]:
    lines: dict[Series, list[Sample]] = {}
    for sample in samples:
        lines.setdefault(sample.series, []).append(sample)
    for line in lines.values():
        line.sort(key=lambda sample: sample.time)
    return lines


def _values(series: Series, line: Sequence[Sample]) -> Floats:
    """What moves: the values, of a counter what was counted since the sample before."""
    values = np.array([sample.value for sample in line], np.float64)
    if series.kind is not SeriesKind.COUNTER:
        return values
    rises = np.diff(values, prepend=values[:1])
    return np.where(rises < 0, values, rises)  # one that fell began again at 0


def _spread(series: Series, line: Sequence[Sample]) -> float:
    values = _values(series, line)
    seen = values[np.isfinite(values)]
    if len(seen) < LEAST_SAMPLES:
        return 0.0
    spread = float(np.median(np.abs(seen - np.median(seen)))) * TO_DEVIATION
    return spread or float(seen.std())  # most values alike: the median deviation is 0, the series still moves


def _changed(series: Series, line: list[Sample], anomaly: Anomaly) -> list[Sample]:
    inside = np.array([anomaly.start <= sample.time < anomaly.end for sample in line], bool)
    if not inside.any():
        return line
    values = _values(series, line)
    moved = values.copy()
    moved[inside] = _moved(values[inside], anomaly, _size(series, values, anomaly, _spread(series, line)))
    if values[np.isfinite(values)].min() >= 0:
        moved = np.maximum(moved, 0.0)  # what was never below 0 cannot be: seconds, counts, shares
    if series.kind is SeriesKind.COUNTER:
        moved = _counted(line, values, moved)
    kept = moved == np.array([sample.value for sample in line])
    return [
        sample if same else replace(sample, value=float(value))
        for sample, value, same in zip(line, moved, kept, strict=True)
    ]


def _size(series: Series, values: Floats, anomaly: Anomaly, spread: float) -> float:
    """By how much it is moved. A level that has no room below goes up instead; a counter may well stop."""
    size, seen = anomaly.amplitude * spread, values[np.isfinite(values)]
    level = series.kind is not SeriesKind.COUNTER
    return -size if level and seen.min() >= 0 and float(np.median(seen)) + size < 0 else size


def _moved(values: Floats, anomaly: Anomaly, size: float) -> Floats:
    count = len(values)
    match anomaly.shape:
        case Shape.SHIFT:
            return values + size
        case Shape.DRIFT:
            return values + size * np.arange(1, count + 1) / count
        case Shape.VARIANCE:
            return np.asarray(values + np.random.default_rng(anomaly.seed).normal(0.0, abs(size), count))


def _counted(line: Sequence[Sample], rises: Floats, moved: Floats) -> Floats:
    """A counter's values from what is counted now; one that began again at 0 does so still."""
    values = np.array([sample.value for sample in line], np.float64)
    ahead = moved - rises
    ahead[0] = 0.0  # what was counted before the first sample is not known
    total = np.cumsum(ahead)
    begins = np.flatnonzero(np.diff(values, prepend=values[:1]) < 0)
    before = np.zeros(len(values))
    for begin in begins:
        before[begin:] = total[begin - 1]
    return np.asarray(values + total - before)
