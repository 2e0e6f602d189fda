"""What a model sees of a component: features per family, each one stationary while the load follows the day.

A family is a component's stage, or `rendition` for what the probe hears. Counts are read per second or per request, so
that a busy evening looks like a quiet night; a level is read as its mean or its maximum. Nothing here follows the
programme (loudness, pauses, bytes of a variable rate): quiet music is no fault, and silence has rules of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass, replace
from enum import StrEnum
from functools import cache

from tonewatch.errors import ModelError
from tonewatch.records import Entity, digest


class Reading(StrEnum):
    """How a feature is computed from the samples of one window."""

    RATE = "rate"  # counters: increase per second, summed over labels
    RATIO = "ratio"  # counters: increase of `metrics` per increase of `per`, each summed over labels
    MEAN = "mean"  # levels: mean over time, then over labels
    MAX = "max"  # levels: maximum over time and labels


@dataclass(frozen=True, slots=True)
class Feature:
    """One column. `floor` is the smallest difference worth noticing, in `unit`: a calmer past does not sharpen it.

    steady: a sample is expected at every scrape or probe; not so for what comes with a segment or needs a twin.
    """

    name: str
    family: str
    unit: str
    reading: Reading
    metrics: tuple[str, ...]
    floor: float
    per: tuple[str, ...] = ()
    where: tuple[tuple[str, str], ...] = ()  # (label, prefix of its value): which series of `metrics` count
    steady: bool = True
    version: int = 1

    @property
    def needed(self) -> tuple[str, ...]:
        """Metrics that must be there. A count per something is 0 while its own counter does not exist yet."""
        return self.per if self.reading is Reading.RATIO else self.metrics


def _rate(name: str, unit: str, metric: str, floor: float) -> Feature:
    return Feature(name, "", unit, Reading.RATE, (metric,), floor)


def _ratio(name: str, unit: str, metric: str, per: str | tuple[str, ...], floor: float, **where: str) -> Feature:
    below = (per,) if isinstance(per, str) else per
    return Feature(name, "", unit, Reading.RATIO, (metric,), floor, per=below, where=tuple(where.items()))


def _mean(name: str, unit: str, metric: str, floor: float, *, steady: bool = True) -> Feature:
    return Feature(name, "", unit, Reading.MEAN, (metric,), floor, steady=steady)


def _max(name: str, unit: str, metric: str, floor: float) -> Feature:
    return Feature(name, "", unit, Reading.MAX, (metric,), floor)


_CPU = _rate("cpu_seconds_per_second", "s/s", "process_cpu_seconds_total", 0.02)
_LAG = _mean("event_loop_lag_mean", "s", "event_loop_lag_seconds", 0.05)
_SCRAPE = _mean("scrape_seconds_mean", "s", "scrape_seconds", 0.05)
_SERVING = (
    _ratio("seconds_per_request", "s", "http_request_seconds_sum", "http_request_seconds_count", 0.005),
    _ratio("errors_per_request", "1", "http_requests_total", "http_requests_total", 0.01, code="5"),
    _ratio("refusals_per_request", "1", "http_requests_total", "http_requests_total", 0.02, code="4"),
    _ratio("cpu_seconds_per_request", "s", "process_cpu_seconds_total", "http_requests_total", 0.002),
    _LAG,
    _SCRAPE,
)
_LOOKUPS = ("edge_cache_hits_total", "edge_cache_misses_total")

_BY_FAMILY: dict[str, tuple[Feature, ...]] = {
    "source": (
        _rate("samples_per_second", "1/s", "source_samples_total", 480.0),
        # No level: it is the programme's. Its twin carries the same, so what lies between the two is not.
        _mean("twin_gap_mean", "dB", "source_twin_gap_db", 2.0, steady=False),
        _CPU,
        _LAG,
        _SCRAPE,
    ),
    "ingest": (
        _rate("bytes_per_second", "B/s", "ingest_bytes_total", 2000.0),
        _max("input_gap_max", "s", "ingest_input_gap_seconds", 0.1),
        _mean("inputs_connected", "1", "ingest_input_connected", 0.05),
        _CPU,
        _LAG,
        _SCRAPE,
    ),
    "transcode": (
        _rate("frames_per_second", "1/s", "transcode_frames_total", 1.0),
        _mean("lag_mean", "s", "transcode_lag_seconds", 0.1),
        _max("lag_max", "s", "transcode_lag_seconds", 0.2),
        _CPU,
        _LAG,
        _SCRAPE,
    ),
    "package": (
        _rate("segments_per_second", "1/s", "package_segments_total", 0.2),
        _mean("playlist_age_mean", "s", "package_playlist_age_seconds", 0.2),
        _max("playlist_age_max", "s", "package_playlist_age_seconds", 0.5),
        _CPU,
        _LAG,
        _SCRAPE,
    ),
    "origin": _SERVING,
    "edge": (
        *_SERVING,
        _ratio("hit_ratio", "1", "edge_cache_hits_total", _LOOKUPS, 0.05),
        _ratio("upstream_errors_per_lookup", "1", "edge_upstream_errors_total", _LOOKUPS, 0.01),
    ),
    "rendition": (
        _mean("playlist_age_mean", "s", "probe_playlist_age_seconds", 0.2),
        _max("playlist_age_max", "s", "probe_playlist_age_seconds", 0.5),
        _mean("segment_seconds_mean", "s", "probe_segment_seconds", 0.05, steady=False),
        _mean("decode_errors_mean", "1", "probe_decode_errors", 0.1, steady=False),
        _mean("latency_mean", "s", "probe_latency_seconds", 0.3),
    ),
}

FAMILIES = tuple(_BY_FAMILY)


@cache
def features(family: str) -> tuple[Feature, ...]:
    """The features of `family`, in the order of a model's columns.

    Raises ModelError: no such family.
    """
    if family not in _BY_FAMILY:
        raise ModelError(f"no features are defined for {family!r}; families are {', '.join(FAMILIES)}")
    return tuple(replace(feature, family=family) for feature in _BY_FAMILY[family])


def names(family: str) -> tuple[str, ...]:
    """The features' names, in the order of a model's columns."""
    return tuple(feature.name for feature in features(family))


def floors(family: str) -> tuple[float, ...]:
    """The smallest differences worth noticing, each in its feature's unit."""
    return tuple(feature.floor for feature in features(family))


@cache
def metrics(family: str) -> frozenset[str]:
    """Every metric that the family's features are computed from."""
    return frozenset(metric for feature in features(family) for metric in (*feature.metrics, *feature.per))


@cache
def needed(family: str) -> tuple[str, ...]:
    """The metrics of which a window is expected to hold a sample per scrape or probe."""
    return tuple(sorted({metric for feature in features(family) if feature.steady for metric in feature.needed}))


@cache
def fingerprint(family: str) -> str:
    """A hash of the definitions: a model trained on others does not fit."""
    return digest(*(astuple(feature) for feature in features(family)))


def by_family(entities: Iterable[Entity]) -> dict[str, tuple[str, ...]]:
    """The ids of the entities that have features, per family; entities of other stages are left out."""
    found: dict[str, list[str]] = {}
    for entity in entities:
        if entity.stage in _BY_FAMILY:
            found.setdefault(entity.stage, []).append(entity.id)
    return {family: tuple(sorted(found[family])) for family in FAMILIES if family in found}
