"""The one windowing function, for live and replay: samples in, one row of features per entity and window out.

A window is half-open, (end - seconds, end], in event time. What is computed depends on the samples in the window alone:
not on their order, nor on what else is handed over, so that a replay gives bit for bit what the live watcher saw.
All series of a family are computed at once, in columns: sums over series go in the order of their labels, one by one.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from feature_store.definitions import Feature, Reading, features, metrics, needed
from feature_store.definitions import names as feature_names
from tonewatch.clock import microseconds
from tonewatch.records import Sample

Floats = npt.NDArray[np.float64]
Indexes = npt.NDArray[np.int64]
#: What a series is known by: entity, metric, labels.
Name = tuple[str, str, tuple[tuple[str, str], ...]]


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
class Lines:
    """Series in columns: those of number i are times[bounds[i]:bounds[i + 1]], in order, finite, one for each time.

    times: microseconds since 1970. Build them with `lines_of`, or `tidy` what may hold repeats.
    """

    bounds: Indexes
    times: Indexes
    values: Floats


@dataclass(frozen=True, slots=True, eq=False)
class _Column:
    """The series that a feature is computed from, above and below its fraction line, and the rows they count for."""

    feature: Feature
    above: Indexes
    above_rows: Indexes
    below: Indexes
    below_rows: Indexes


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Which series give which feature of which entity: the part that stays while no series comes or goes."""

    family: str
    rows: tuple[str, ...]
    columns: tuple[_Column, ...]
    needed: tuple[tuple[Indexes, Indexes], ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Cut:
    """Series cut into windows, (series, windows): samples first..last (exclusive) lie in each."""

    lines: Lines
    rises: Floats
    first: Indexes
    last: Indexes
    starts: Indexes
    stops: Indexes

    def of(self, series: Indexes) -> tuple[Indexes, Indexes]:
        """First and last of some series, with the windows in one row."""
        return self.first[series].ravel(), self.last[series].ravel()


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
    names, lines = lines_of(samples, metrics(family), entities)
    return compute(plan(family, names, entities), lines, ends, seconds, every=every)


def lines_of(
    samples: Iterable[Sample], wanted: frozenset[str], entities: Collection[str] | None
) -> tuple[list[Name], Lines]:
    """The wanted series of the samples, by name in order, and their columns."""
    among = None if entities is None else frozenset(entities)
    points: dict[Name, list[tuple[int, float]]] = {}
    for sample in samples:
        series = sample.series
        if series.metric in wanted and (among is None or series.entity in among) and math.isfinite(sample.value):
            key = (series.entity, series.metric, series.labels)
            points.setdefault(key, []).append((microseconds(sample.time), sample.value))
    names = sorted(points)
    bounds = np.cumsum([0, *(len(points[name]) for name in names)], dtype=np.int64)
    flat = [point for name in names for point in points[name]]
    times = np.array([time for time, _ in flat], dtype=np.int64)
    return names, tidy(bounds, times, np.array([value for _, value in flat], dtype=np.float64))


def tidy(bounds: Indexes, times: Indexes, values: Floats) -> Lines:
    """Columns in order of time within each series, finite, and of equal times the largest value alone."""
    series = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
    kept = np.isfinite(values)
    same = series[1:] == series[:-1]
    if not (kept.all() and (times[1:] > times[:-1])[same].all()):
        order = np.lexsort((values, times, series))
        series, times, values, kept = series[order], times[order], values[order], kept[order]
        series, times, values = series[kept], times[kept], values[kept]
        last = np.append((series[1:] != series[:-1]) | (times[1:] != times[:-1]), True)[: len(series)]
        series, times, values = series[last], times[last], values[last]
        bounds = np.searchsorted(series, np.arange(len(bounds)))
    return Lines(bounds, times, values)


def plan(family: str, names: Sequence[Name], entities: Collection[str] | None = None) -> Plan:
    """Place the series, which are `names` in order, under the features of `family`. Raises ModelError."""
    rows = tuple(sorted(entities)) if entities is not None else tuple(dict.fromkeys(entity for entity, _, _ in names))
    row_of = {entity: row for row, entity in enumerate(rows)}
    of_metric: dict[str, list[int]] = {}
    for number, (entity, metric, _) in enumerate(names):
        if entity in row_of:
            of_metric.setdefault(metric, []).append(number)

    def chosen(wanted: tuple[str, ...], where: tuple[tuple[str, str], ...] = ()) -> tuple[Indexes, Indexes]:
        found = [n for metric in wanted for n in of_metric.get(metric, ()) if not where or _matches(names[n], where)]
        return np.array(found, dtype=np.int64), np.array([row_of[names[n][0]] for n in found], dtype=np.int64)

    columns = tuple(_Column(each, *chosen(each.metrics, each.where), *chosen(each.per)) for each in features(family))
    return Plan(family, rows, columns, tuple(chosen((metric,)) for metric in needed(family)))


def compute(
    placed: Plan, lines: Lines, ends: Sequence[datetime], seconds: float, *, every: float = 1.0
) -> FeatureFrame:
    """The rows of features of every entity of the plan for the windows (end - seconds, end]."""
    stops = np.array([microseconds(end) for end in ends], dtype=np.int64)
    cut = _cut(lines, stops - round(seconds * 1e6), stops)
    height = len(placed.rows)
    columns = [_compute(column, cut, height) for column in placed.columns]
    return FeatureFrame(
        family=placed.family,
        entities=tuple(entity for entity in placed.rows for _ in ends),
        ends=tuple(ends) * height,
        names=feature_names(placed.family),
        values=np.column_stack(columns),
        coverage=_coverage(placed, cut, seconds / every),
    )


def _matches(name: Name, where: tuple[tuple[str, str], ...]) -> bool:
    labels = dict(name[2])
    return all(labels.get(label, "").startswith(prefix) for label, prefix in where)


def _cut(lines: Lines, starts: Indexes, stops: Indexes) -> _Cut:
    steps = np.diff(lines.values, prepend=0.0)
    rises = np.where(steps < 0, lines.values, steps)  # a counter that fell began again at 0
    first = lines.bounds[:-1]
    rises[first[first < len(rises)]] = 0.0
    series = np.repeat(np.arange(len(first)), np.diff(lines.bounds))
    firsts, lasts = (
        _positions(series, lines.times, len(first), starts),
        _positions(series, lines.times, len(first), stops),
    )
    return _Cut(lines, rises, firsts, lasts, starts, stops)


def _positions(owners: Indexes, times: Indexes, count: int, bounds: Indexes) -> Indexes:
    """Where each bound falls among each owner's times, after equal ones: (owners, bounds), positions in `times`.

    One search over all: an owner's times are lifted above those of the owner before.
    """
    if not len(times):
        return np.zeros((count, len(bounds)), dtype=np.int64)
    lowest, highest = times.min(), times.max()
    span = highest - lowest + 2
    lifted = owners * span + (times - lowest + 1)
    asked = np.arange(count)[:, None] * span + np.clip(bounds - lowest + 1, 0, span - 1)
    found: Indexes = np.searchsorted(lifted, asked, "right")
    return found


def _compute(column: _Column, cut: _Cut, height: int) -> Floats:
    match column.feature.reading:
        case Reading.RATE:
            return _total(_per_second(cut, column.above), column.above_rows, cut, height)[0]
        case Reading.RATIO:
            below = _total(_increase(cut, column.below), column.below_rows, cut, height)[0]
            above = np.nan_to_num(_total(_increase(cut, column.above), column.above_rows, cut, height)[0])
            return above / np.where(below > 0, below, np.nan)
        case Reading.MEAN:
            total, present = _total(_mean(cut, column.above), column.above_rows, cut, height)
            return total / np.maximum(present, 1)
        case Reading.MAX:
            highest = np.full(height * len(cut.stops), -np.inf)
            np.maximum.at(highest, _cells(column.above_rows, cut), _max(cut, column.above))
            return np.where(np.isfinite(highest), highest, np.nan)


def _cells(rows: Indexes, cut: _Cut) -> Indexes:
    """The place of each series' windows in a column: an entity's windows stand together."""
    width = len(cut.stops)
    return (rows[:, None] * width + np.arange(width)).ravel()


def _total(parts: Floats, rows: Indexes, cut: _Cut, height: int) -> tuple[Floats, Indexes]:
    """Sums over each row's series, and how many had a value; NaN where none had.

    bincount adds one by one: a series without a value adds 0 and changes no bit.
    """
    cells, size = _cells(rows, cut), height * len(cut.stops)
    there = ~np.isnan(parts)
    present = np.bincount(cells, weights=there, minlength=size)
    total = np.bincount(cells, weights=np.where(there, parts, 0.0), minlength=size)
    return np.where(present > 0, total, np.nan), present.astype(np.int64)


def _increase(cut: _Cut, series: Indexes) -> Floats:
    """What was counted between the first and the last sample of the window; NaN for fewer than two."""
    first, last = cut.of(series)
    # The rise into the window's first sample happened before it.
    rises = _between(np.add, cut.rises, np.minimum(first + 1, last), last)
    rises[last - first < 2] = np.nan
    return rises


def _per_second(cut: _Cut, series: Indexes) -> Floats:
    first, last = cut.of(series)
    span = np.full(len(first), np.nan)
    full = last - first >= 2
    span[full] = (cut.lines.times[last[full] - 1] - cut.lines.times[first[full]]) / 1e6
    rates: Floats = _increase(cut, series) / span
    return rates


def _mean(cut: _Cut, series: Indexes) -> Floats:
    first, last = cut.of(series)
    total = _between(np.add, cut.lines.values, first, last)
    total[last == first] = np.nan
    means: Floats = total / np.maximum(last - first, 1)
    return means


def _max(cut: _Cut, series: Indexes) -> Floats:
    first, last = cut.of(series)
    highest = _between(np.maximum, cut.lines.values, first, last)
    highest[last == first] = -np.inf
    return highest


def _between(reduce: np.ufunc, values: Floats, first: Indexes, last: Indexes) -> Floats:
    """reduce(values[first:last]) per window; each from its own values alone, so no rounding is carried along.

    Where a window is empty the result means nothing: callers mask it.
    """
    if not len(first):
        return np.empty(0)
    padded = np.append(values, 0.0)  # reduceat takes no index behind the end
    bounds = np.column_stack((first, last)).ravel()
    reduced: Floats = reduce.reduceat(padded, bounds)
    return reduced[::2].copy()


def _coverage(placed: Plan, cut: _Cut, expected: float) -> Floats:
    height, width = len(placed.rows), len(cut.stops)
    shares = np.zeros(height * width)
    for series, rows in placed.needed:
        if len(np.unique(rows)) == len(rows):
            counts = np.zeros((height, width), dtype=np.int64)
            counts[rows] = cut.last[series] - cut.first[series]
        else:
            counts = _moments(series, rows, cut, height)
        shares += np.minimum(1.0, counts.ravel() / expected)
    return shares / max(len(placed.needed), 1)


def _moments(series: Indexes, rows: Indexes, cut: _Cut, height: int) -> Indexes:
    """How many different times each row's series have in each window: those of one scrape are one."""
    bounds = cut.lines.bounds
    sizes = bounds[series + 1] - bounds[series]
    within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    times = cut.lines.times[np.repeat(bounds[series], sizes) + within]
    owners = np.repeat(rows, sizes)
    order = np.lexsort((times, owners))
    owners, times = owners[order], times[order]
    fresh = np.append(True, (owners[1:] != owners[:-1]) | (times[1:] != times[:-1]))[: len(owners)]
    owners, times = owners[fresh], times[fresh]
    counts: Indexes = _positions(owners, times, height, cut.stops) - _positions(owners, times, height, cut.starts)
    return counts
