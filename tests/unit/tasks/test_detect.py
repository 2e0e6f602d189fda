"""Champions at work: a real forest, fitted here, on windows of hand-made samples."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from feature_store.definitions import floors, names
from feature_store.recent import Recent
from feature_store.windows import window_features
from ml.champion import Champion
from ml.detectors.isolation_forest import ForestDetector
from tasks.detect import detect
from tests.unit.platform_parts import at, series
from tonewatch.records import Entity, FindingKind, Sample
from tonewatch.settings import load_profile
from tonewatch.topology import Topology

DEMO = load_profile("demo")
SOURCE = "component:source-ch1-primary"
TOPOLOGY = Topology([Entity(SOURCE, "source", {"channel": "channel:ch1"})])


def telemetry(seconds: int, gap: float = 0.0, level: float = -20.0) -> list[Sample]:
    """A calm source; its level, and how far below its twin's that lies, in the last 30 seconds."""
    rng = np.random.default_rng(7)
    levels = [-20.0 + float(rng.normal(0, 0.5)) for _ in range(seconds - 30)]
    levels += [level + float(rng.normal(0, 0.5)) for _ in range(30)]
    gaps = [min(0.0, float(rng.normal(0, 0.2)) + (gap if second >= seconds - 30 else 0.0)) for second in range(seconds)]
    lines = [
        series(SOURCE, "source_samples_total", [48_000.0 * n for n in range(seconds)]),
        series(SOURCE, "source_level_dbfs", levels),
        series(SOURCE, "source_twin_gap_db", gaps),
        series(SOURCE, "process_cpu_seconds_total", [0.01 * n for n in range(seconds)]),
        series(SOURCE, "event_loop_lag_seconds", [0.002] * seconds),
        series(SOURCE, "scrape_seconds", [0.01] * seconds),
        series(SOURCE, "up", [1.0] * seconds),
    ]
    return [sample for line in lines for sample in line]


@pytest.fixture(scope="module")
def champion() -> Champion:
    frame = window_features("source", telemetry(200), [at(n) for n in range(12, 200)], 10.0, entities=[SOURCE])
    detector = ForestDetector(names("source"), floors("source"), seed=1).fit(frame.values)
    return Champion("source", detector, float(np.max(detector.score(frame.values))) + 0.02, rate=0.05)


def judged(champion: Champion, samples: list[Sample]) -> dict[tuple[str, str], FindingKind]:
    recent = Recent(timedelta(minutes=6))
    recent.add(samples)
    found = detect({}, recent, {"source": champion}, TOPOLOGY, at(199), DEMO)
    return {key: condition.kind for key, condition in found.items()}


def test_level_that_drops_below_its_twins_is_an_anomaly(champion: Champion) -> None:
    assert judged(champion, telemetry(200, gap=-25.0, level=-45.0)) == {
        (SOURCE, "isolation-forest:source"): FindingKind.SIGNAL
    }


@pytest.mark.parametrize("level", [-6.0, -45.0, -58.0])
def test_programme_that_turns_loud_or_quiet_is_none(champion: Champion, level: float) -> None:
    assert judged(champion, telemetry(200, level=level)) == {}


def test_calm_continuation_is_none(champion: Champion) -> None:
    assert judged(champion, telemetry(200)) == {}


def test_no_model_judges_windows_in_which_the_watcher_starved(champion: Champion) -> None:
    starved = series("host:watcher", "host_starved_seconds", [1.0], first=185)
    assert judged(champion, telemetry(200, gap=-25.0) + starved) == {}


def test_missing_telemetry_is_no_anomaly(champion: Champion) -> None:
    gone = [s for s in telemetry(200, gap=-25.0) if s.time < at(180) or s.series.metric == "source_twin_gap_db"]
    assert (SOURCE, "isolation-forest:source") not in judged(champion, gone)


def test_a_model_that_fails_is_told_and_silences_no_rule(champion: Champion) -> None:
    whole = champion.detector
    assert isinstance(whole, ForestDetector)
    assert whole.pipeline is not None
    brittle = ForestDetector.restored(whole.pipeline, whole.names, whole.floors, whole.limits[:-1], "7")
    down = series(SOURCE, "scrape_failed", [1.0] * 10, first=189, reason="refused")
    recent = Recent(timedelta(minutes=6))
    told_of = [
        replace(each, value=0.0) if each.series.metric == "up" and each.time >= at(189) else each
        for each in telemetry(200, gap=-25.0, level=-45.0)
    ]
    recent.add([*told_of, *down])
    found = detect({}, recent, {"source": replace(champion, detector=brittle)}, TOPOLOGY, at(196), DEMO)
    assert FindingKind.RULE in {condition.kind for condition in found.values()}
    assert (SOURCE, "isolation-forest:source") not in found
    told = found["host:watcher", "model:source"]
    assert (told.kind, told.model_version) == (FindingKind.DATA, "source-isolation-forest/7")
    assert "ValueError" in told.actual
    again = detect(found, recent, {"source": replace(champion, detector=brittle)}, TOPOLOGY, at(199), DEMO)
    assert again["host:watcher", "model:source"].finding("kiwi").id == told.finding("kiwi").id


def test_whatever_the_code_of_a_model_raises_is_told_and_ends_no_tick(champion: Champion) -> None:
    """A pipeline that another scikit-learn has written lacks what today's expects: AttributeError."""
    whole = champion.detector
    assert isinstance(whole, ForestDetector)
    pipeline = copy.deepcopy(whole.pipeline)
    assert pipeline is not None
    del pipeline["impute"]._fill_dtype
    outdated = ForestDetector.restored(pipeline, whole.names, whole.floors, whole.limits, "7")
    found = judged(replace(champion, detector=outdated), telemetry(200))
    assert found == {("host:watcher", "model:source"): FindingKind.DATA}
