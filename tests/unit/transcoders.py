"""Two transcoders whose samples are made, and forests that learned their calm: what tests of shadows share."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import numpy as np

from feature_store.definitions import floors, names
from feature_store.windows import window_features
from ml.champion import Champion
from ml.detectors.isolation_forest import ForestDetector
from tonewatch.records import Sample, Series, SeriesKind

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
PARTS = ("component:transcoder-ch1", "component:transcoder-ch2")
NOBODY: Mapping[str, tuple[int, int]] = {}
#: Level and spread of each second's reading; of counters what is counted.
USUAL = {
    "transcode_frames_total": (141.0, 12.0),
    "process_cpu_seconds_total": (0.12, 0.02),
    "transcode_lag_seconds": (0.3, 0.05),
    "event_loop_lag_seconds": (0.08, 0.02),
    "scrape_seconds": (0.1, 0.02),
}


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def telemetry(first: int, last: int, *, seed: int = 1, ill: Mapping[str, tuple[int, int]] = NOBODY) -> list[Sample]:
    """A sample a second of each metric, first < second <= last; ill: part -> when it lags by three seconds."""
    chance = np.random.default_rng(seed)
    told = []
    seconds = np.arange(first + 1, last + 1)
    for part in PARTS:
        for metric, (level, spread) in USUAL.items():
            values = np.abs(level + spread * chance.standard_normal(len(seconds)))
            if metric == "transcode_lag_seconds" and part in ill:
                begins, ends = ill[part]
                values = values + np.where((seconds > begins) & (seconds <= ends), 3.0, 0.0)
            counter = metric.endswith("_total")
            series = Series(part, metric, kind=SeriesKind.COUNTER if counter else SeriesKind.GAUGE)
            values = np.cumsum(values) if counter else values
            told += [
                Sample(series, at(int(second)), float(value)) for second, value in zip(seconds, values, strict=True)
            ]
    return told


def forest(version: str = "1", seed: int = 0) -> ForestDetector:
    """It has learned ten calm minutes that no test judges."""
    calm = telemetry(-2000, -1400, seed=9)
    ends = [at(second) for second in range(-1980, -1400, 5)]
    rows = window_features("transcode", calm, ends, 10.0, entities=PARTS).values
    detector = ForestDetector(names("transcode"), floors("transcode"), trees=20, seed=seed).fit(rows)
    detector.version = version
    return detector


def champion(threshold: float = 0.7, version: str = "1", seed: int = 0) -> Champion:
    return Champion("transcode", forest(version, seed), threshold, 0.01)
