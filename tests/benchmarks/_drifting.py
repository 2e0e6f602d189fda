"""A simulated platform in rows of features, and shifts planted into what it tells: for the benchmark of drift."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

import numpy as np
import numpy.typing as npt

from feature_store.definitions import floors, names
from feature_store.windows import compute, plan, tidy
from ml.detectors.isolation_forest import ForestDetector
from ml.drift_days import Rows
from soundstage.simulator.telemetry import Simulation
from soundstage.simulator.wish import Wish
from tests.benchmarks._simulated import Simulated
from tonewatch.clock import microseconds

Floats = npt.NDArray[np.float64]
DAY_S, WINDOW_S, EVERY_S = 86_400.0, 300.0, 60.0
DAY_US = 86_400_000_000
VIEWS = ("source", "ingest", "transcode", "package", "origin", "edge", "rendition")
#: A model's score lies between 0 and 1; less than this is not worth noticing.
SCORE_FLOOR = 0.02


@dataclass(frozen=True)
class Drifting(Simulated):
    """A platform without faults, releases and restarts. What is left: day and week, holidays, growth of the audience by
    a fifth a year, common noise of load and hosts, noise with a memory and heavy tails, scrapes that go missing.
    """

    @cached_property
    def simulation(self) -> Simulation:
        """What is simulated."""
        return Simulation(Wish(self.series, self.days, seed=self.seed, steady=True))

    def entities(self, view: str) -> tuple[str, ...]:
        """The parts that the view describes."""
        return tuple(sorted(part.id for part in self.simulation.platform.parts if part.stage == view))

    def columns(self, view: str) -> list[int]:
        """The series of the view's entities, in the order of their names."""
        entities = set(self.entities(view))
        found = [at for at, name in enumerate(self.names) if name.entity in entities]
        return sorted(found, key=lambda at: (self.names[at].entity, self.names[at].metric, self.names[at].labels))

    def rows(self, view: str, first: int, until: int, values: Floats) -> Rows:
        """The view's windows that end in the steps first+1..until. values: (steps from `first` on, columns of the
        view).
        """
        order, entities = self.columns(view), self.entities(view)
        step = timedelta(seconds=EVERY_S) // timedelta(microseconds=1)
        start = microseconds(self.time(first))
        stride = round(WINDOW_S / EVERY_S)
        count = (until - first) // stride
        times = start + np.arange(len(values)) * step
        bounds = np.arange(len(order) + 1) * len(values)
        lines = tidy(bounds, np.tile(times, len(order)), np.ascontiguousarray(values.T).ravel())
        ends = [self.time(first) + timedelta(seconds=WINDOW_S * each) for each in range(1, count + 1)]
        told = [(self.names[at].entity, self.names[at].metric, self.names[at].labels) for at in order]
        frame = compute(plan(view, told, entities), lines, ends, WINDOW_S, every=EVERY_S)
        places = np.repeat(np.arange(len(entities)), count)
        moments = np.tile([microseconds(end) for end in ends], len(entities))
        there = (frame.coverage > 0) | ~np.isnan(frame.values).all(axis=1)
        return Rows(places[there], moments[there], frame.values[there])

    def whole(self, view: str) -> Rows:
        """All windows of the view, a week's at a time."""
        steps, week = self.simulation.wish.steps, round(7 * DAY_S / EVERY_S)
        order = self.columns(view)
        parts = [
            self.rows(view, first, until, self.values[first : until + 1, order])
            for first in range(0, steps, week)
            for until in [min(first + week, steps - 1)]
        ]
        return joined(parts)


def joined(parts: Sequence[Rows]) -> Rows:
    """Rows one after another."""
    return Rows(*(np.concatenate(each) for each in zip(*((p.places, p.times, p.values) for p in parts), strict=True)))


def between(rows: Rows, after: int, until: int) -> Rows:
    """Those with after < time <= until."""
    kept = (rows.times > after) & (rows.times <= until)
    return Rows(rows.places[kept], rows.times[kept], rows.values[kept])


def model(view: str, reference: Rows, seed: int) -> ForestDetector:
    """The product's detector, learned from the last two days of the reference as the product learns."""
    late = between(reference, int(reference.times.max()) - 2 * DAY_US, int(reference.times.max()))
    return ForestDetector(names(view), floors(view), seed=seed).fit(late.values)


def scored(detector: ForestDetector, rows: Rows) -> Rows:
    """The model's scores of the windows that it can judge, as a view of one column."""
    usable = detector.usable(rows.values)
    scores = np.full((len(rows.values), 1), np.nan)
    scores[usable, 0] = detector.score(rows.values[usable])
    return Rows(rows.places, rows.times, scores)


@dataclass(frozen=True)
class Planted:
    """A shift. metrics: whose series it moves, of all entities of the view; how: (series as levels or increases per
    step (steps, series), seconds since the onset (steps,), size, generator) -> the same moved. scores: it is looked for
    in the model's scores alone.
    """

    name: str
    view: str
    metrics: tuple[str, ...]
    how: Callable[[Floats, Floats, float, np.random.Generator], Floats]
    size: float
    told: str
    scores: bool = False
    label: str = ""

    def into(self, platform: Drifting, values: Floats, onset: int, size: float) -> Floats:
        """The view's series (steps, columns) with the shift from step `onset` on."""
        order = platform.columns(self.view)
        chosen = [
            at
            for at, number in enumerate(order)
            if platform.names[number].metric in self.metrics
            and (not self.label or self.label in dict(platform.names[number].labels).values())
        ]
        counts = platform.counters[np.array(order)[chosen]]
        found = values.copy()
        told = found[onset:, chosen]
        since = np.arange(len(told), dtype=np.float64) * EVERY_S
        grown = _increases(found[onset - 1 :, chosen])
        plain = np.where(counts, grown, told)
        moved = self.how(plain, since, size, np.random.default_rng([platform.seed, 99]))
        totals = found[onset - 1, chosen] + np.cumsum(np.nan_to_num(moved), axis=0)
        found[onset:, chosen] = np.where(counts, np.where(np.isnan(moved), np.nan, totals), moved)
        return found


def _increases(values: Floats) -> Floats:
    """Of counters (steps + 1, series) what each step added; a missing reading's share comes with the next one's."""
    filled = values.copy()
    for column in filled.T:
        missing = np.isnan(column)
        if missing.any() and not missing.all():
            column[missing] = np.interp(np.flatnonzero(missing), np.flatnonzero(~missing), column[~missing])
    grown = np.diff(filled, axis=0)
    return np.where(np.isnan(values[1:]), np.nan, np.maximum(grown, 0.0))


def _times(values: Floats, since: Floats, size: float, chance: np.random.Generator) -> Floats:
    return values * (1 + size)


def _plus(values: Floats, since: Floats, size: float, chance: np.random.Generator) -> Floats:
    return values + size


def _rising(hours: float) -> Callable[[Floats, Floats, float, np.random.Generator], Floats]:
    def how(values: Floats, since: Floats, size: float, chance: np.random.Generator) -> Floats:
        return values + (size * np.minimum(since / (hours * 3600), 1.0))[:, None]

    return how


def _swelling(hours: float) -> Callable[[Floats, Floats, float, np.random.Generator], Floats]:
    def how(values: Floats, since: Floats, size: float, chance: np.random.Generator) -> Floats:
        return values * (1 + size * np.minimum(since / (hours * 3600), 1.0))[:, None]

    return how


def _wilder(values: Floats, since: Floats, size: float, chance: np.random.Generator) -> Floats:
    middle = np.nanmedian(values, axis=0)
    return middle + (values - middle) * (1 + size)


def _two_humps(values: Floats, since: Floats, size: float, chance: np.random.Generator) -> Floats:
    """Half of the quarters of an hour a little more, half as much less: the mean stays."""
    quarter = (since // 900).astype(np.int64)
    side: Floats = chance.choice([-1.0, 1.0], quarter.max() + 1)[quarter]
    return values + size * side[:, None]


def _elsewhen(values: Floats, since: Floats, size: float, chance: np.random.Generator) -> Floats:
    """The day's course `size` hours late: its own course is divided out and the shifted one put in its place."""
    minute = np.arange(len(values)) % round(DAY_S / EVERY_S)
    smooth = np.stack([_smooth(column) for column in values.T], axis=1)
    late = np.roll(smooth[: round(DAY_S / EVERY_S)], round(size * 3600 / EVERY_S), axis=0)
    return values / smooth * late[minute]


def _smooth(column: Floats) -> Floats:
    filled = np.where(np.isnan(column), np.nanmedian(column), column)
    padded = np.pad(filled, 60, mode="edge")
    return np.convolve(padded, np.ones(121) / 121, mode="valid")


def _gone(values: Floats, since: Floats, size: float, chance: np.random.Generator) -> Floats:
    """So great a share of the half hours without a reading."""
    half = (since // 1800).astype(np.int64)
    lost = chance.random(half.max() + 1)[half] < size
    return np.where(lost[:, None], np.nan, values)


#: Ten shifts of different kinds and sizes, in all seven views and in a model's scores.
SHIFTS = (
    Planted("cpu of the transcoders", "transcode", ("process_cpu_seconds_total",), _times, 0.5, "sudden, +50 %"),
    Planted("bit rate of the ingests", "ingest", ("ingest_bytes_total",), _times, 0.05, "sudden, +5 %"),
    Planted("latency, gradually", "rendition", ("probe_latency_seconds",), _rising(24), 1.5, "+1.5 s over 24 hours"),
    Planted("hit ratio of the edges", "edge", ("edge_cache_hits_total",), _times, -0.5, "sudden, half of the hits"),
    Planted("season of the sources", "source", ("process_cpu_seconds_total",), _elsewhen, 12.0, "the day 12 h late"),
    Planted("wild latency", "rendition", ("probe_latency_seconds",), _wilder, 2.0, "three times the spread, same mean"),
    Planted(
        "refusals, gradually",
        "edge",
        ("http_requests_total",),
        _swelling(12),
        10.0,
        "404s 11-fold over 12 hours",
        label="404",
    ),
    Planted("two humps", "package", ("package_playlist_age_seconds",), _two_humps, 0.6, "+-0.6 s, by quarter hours"),
    Planted("segments without a reading", "rendition", ("probe_segment_seconds",), _gone, 0.5, "half the half hours"),
    Planted(
        "scores, by slow loops",
        "origin",
        ("event_loop_lag_seconds",),
        _plus,
        0.15,
        "+0.15 s, in the scores alone",
        scores=True,
    ),
)
