"""The one windowing function, for live and replay: samples in, one row of features per entity and window out.

A window is half-open, (end - seconds, end], in event time. What is computed depends on the samples in the window alone:
not on their order, nor on what else is handed over, so that a replay gives bit for bit what the live watcher saw.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from feature_store.definitions import Feature, Reading, features, metrics, needed
from feature_store.definitions import names as feature_names
from tonewatch.records import Sample

Floats = npt.NDArray[np.float64]
Indexes = npt.NDArray[np.int64]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, eq=False)
class FeatureFrame:
    """Rows of features, ordered by entity, then by end.

    values: (rows, features), NaN where a feature could not be computed. coverage: (rows,), the share of the expected
    samples that were there, 0 to 1, averaged over the metrics that the family needs.
    """

    family: str
    entities: tuple[str, ...]
    ends: tuple[datetime, ...]
    names: tuple[str, ...]
    values: Floats
    coverage: Floats


@dataclass(frozen=True, slots=True, eq=False)
class _Line:
    """One series in time order. times: microseconds; rises: increase since the sample before, resets handled."""

    labels: Mapping[str, str]
    times: Indexes
    values: Floats
    rises: Floats


@dataclass(frozen=True, slots=True, eq=False)
class _Cut:
    """One series cut into windows: its samples first..last (exclusive) lie in each."""

    line: _Line
    first: Indexes
    last: Indexes

    @property
    def counts(self) -> Indexes:
        return self.last - self.first


def window_features(
    family: str,
    samples: Sequence[Sample],
    ends: Sequence[datetime],
    seconds: float,
    *,
    entities: Collection[str] | None = None,
    every: float = 1.0,
) -> FeatureFrame:
    """Compute the features of `family` for each entity and each window (end - seconds, end].

    `entities`: whose rows are wanted, also those without samples (default: all that have a sample of the family's
    metrics; stages share some metrics, so hand over the family's own samples or name its entities). `every`: seconds
    between two samples as configured. Of samples that differ for the same series and time the largest value counts;
    values that are no finite number are left out. Raises ModelError: no such family.
    """
    lines = _lines(samples, metrics(family), entities)
    rows = sorted(entities if entities is not None else lines)
    stops = np.array([_microseconds(end) for end in ends], dtype=np.int64)
    starts = stops - round(seconds * 1e6)
    blocks, coverages = [], []
    for entity in rows:
        cuts = _cut(lines.get(entity, {}), starts, stops)
        columns = [_compute(feature, cuts, len(ends)) for feature in features(family)]
        blocks.append(np.column_stack(columns))
        coverages.append(_coverage(needed(family), cuts, starts, stops, seconds / every))
    return FeatureFrame(
        family=family,
        entities=tuple(entity for entity in rows for _ in ends),
        ends=tuple(end for _ in rows for end in ends),
        names=feature_names(family),
        values=np.concatenate(blocks) if blocks else np.empty((0, len(features(family)))),
        coverage=np.concatenate(coverages) if coverages else np.empty(0),
    )


def _microseconds(time: datetime) -> int:
    return (time - _EPOCH) // _MICROSECOND


def _lines(
    samples: Iterable[Sample], wanted: frozenset[str], entities: Collection[str] | None
) -> dict[str, dict[str, list[_Line]]]:
    """Entity -> metric -> its series, ordered by labels: sums over them come out the same in every run."""
    among = None if entities is None else frozenset(entities)
    points: dict[tuple[str, str, tuple[tuple[str, str], ...]], list[tuple[int, float]]] = defaultdict(list)
    for sample in samples:
        series = sample.series
        if series.metric in wanted and (among is None or series.entity in among) and math.isfinite(sample.value):
            points[series.entity, series.metric, series.labels].append((_microseconds(sample.time), sample.value))
    found: dict[str, dict[str, list[_Line]]] = {}
    for entity, metric, labels in sorted(points):
        line = _line(dict(labels), points[entity, metric, labels])
        found.setdefault(entity, {}).setdefault(metric, []).append(line)
    return found


def _line(labels: Mapping[str, str], points: list[tuple[int, float]]) -> _Line:
    latest = dict(sorted(points))  # of equal times the largest value stays
    times = np.fromiter(latest.keys(), dtype=np.int64, count=len(latest))
    values = np.fromiter(latest.values(), dtype=np.float64, count=len(latest))
    steps = np.diff(values, prepend=values[:1])
    return _Line(labels, times, values, np.where(steps < 0, values, steps))  # a counter that fell began again at 0


def _cut(lines: Mapping[str, list[_Line]], starts: Indexes, stops: Indexes) -> dict[str, list[_Cut]]:
    return {
        metric: [
            _Cut(line, np.searchsorted(line.times, starts, "right"), np.searchsorted(line.times, stops, "right"))
            for line in of_metric
        ]
        for metric, of_metric in lines.items()
    }


def _compute(feature: Feature, cuts: Mapping[str, list[_Cut]], count: int) -> Floats:
    chosen = [cut for metric in feature.metrics for cut in cuts.get(metric, ()) if _matches(cut.line, feature.where)]
    match feature.reading:
        case Reading.RATE:
            return _total([_per_second(cut) for cut in chosen], count)
        case Reading.RATIO:
            below = _total([_increase(cut) for metric in feature.per for cut in cuts.get(metric, ())], count)
            above = np.nan_to_num(_total([_increase(cut) for cut in chosen], count))
            return above / np.where(below > 0, below, np.nan)
        case Reading.MEAN:
            means = [_mean(cut) for cut in chosen]
            present = np.sum([np.isfinite(mean) for mean in means], axis=0) if means else np.zeros(count)
            return _total(means, count) / np.maximum(present, 1)
        case Reading.MAX:
            highest = np.max([_max(cut) for cut in chosen], axis=0) if chosen else np.full(count, -np.inf)
            return np.where(np.isfinite(highest), highest, np.nan)


def _matches(line: _Line, where: tuple[tuple[str, str], ...]) -> bool:
    return all(line.labels.get(label, "").startswith(prefix) for label, prefix in where)


def _total(parts: Sequence[Floats], count: int) -> Floats:
    """Sum over series, each (windows,); NaN where no series has a value."""
    total = np.full(count, np.nan)
    for part in parts:
        total = np.where(np.isnan(total), part, np.where(np.isnan(part), total, total + part))
    return total


def _increase(cut: _Cut) -> Floats:
    """What was counted between the first and the last sample of the window; NaN for fewer than two."""
    inner = np.minimum(cut.first + 1, cut.last)  # the rise into the window's first sample happened before it
    rises = _between(np.add, cut.line.rises, inner, cut.last)
    rises[cut.counts < 2] = np.nan
    return rises


def _per_second(cut: _Cut) -> Floats:
    span = np.full(len(cut.first), np.nan)
    full = cut.counts >= 2
    span[full] = (cut.line.times[cut.last[full] - 1] - cut.line.times[cut.first[full]]) / 1e6
    rates: Floats = _increase(cut) / span
    return rates


def _mean(cut: _Cut) -> Floats:
    total = _between(np.add, cut.line.values, cut.first, cut.last)
    total[cut.counts == 0] = np.nan
    return total / np.maximum(cut.counts, 1)


def _max(cut: _Cut) -> Floats:
    highest = _between(np.maximum, cut.line.values, cut.first, cut.last)
    highest[cut.counts == 0] = -np.inf
    return highest


def _between(reduce: np.ufunc, values: Floats, first: Indexes, last: Indexes) -> Floats:
    """reduce(values[first:last]) per window; each from its own values alone, so no rounding is carried along.

    Where a window is empty the result means nothing: callers mask it.
    """
    padded = np.append(values, 0.0)  # reduceat takes no index behind the end
    bounds = np.column_stack((first, last)).ravel()
    reduced: Floats = reduce.reduceat(padded, bounds)
    return reduced[::2].copy()


def _coverage(
    wanted: tuple[str, ...], cuts: Mapping[str, list[_Cut]], starts: Indexes, stops: Indexes, expected: float
) -> Floats:
    shares = np.zeros(len(stops))
    for metric in wanted:
        if metric not in cuts:
            continue
        times = np.unique(np.concatenate([cut.line.times for cut in cuts[metric]]))
        counts = np.searchsorted(times, stops, "right") - np.searchsorted(times, starts, "right")
        shares += np.minimum(1.0, counts / expected)
    return shares / len(wanted)
