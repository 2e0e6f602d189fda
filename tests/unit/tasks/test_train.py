"""Learning on a recording of a real soundstage: what the programme does raises nothing, what a fault does is seen."""

from __future__ import annotations

import json
import lzma
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from feature_store.twins import twin_samples
from feature_store.windows import FeatureFrame, window_features
from ml.calibration import debounced
from tasks.detect import NOTABLE
from tasks.prove import Verdict, prove
from tasks.train import Stretch, calibrated, learn, score_matrix
from tests.unit.platform_parts import at
from tonewatch.records import Entity, Sample, Series
from tonewatch.settings import load_profile
from tonewatch.topology import Topology

DEMO = load_profile("demo")
RECORDING = Path(__file__).with_name("quiet_passage.json.xz")
PRIMARY, BACKUP = "component:source-ch1-primary", "component:source-ch1-backup"
QUIET, SILENT = (330.0, 390.0), (450.0, 495.0)  # seconds on air; the first is music, the second a dead line
CALM = Stretch("t", at(35), at(325), DEMO)


@dataclass(frozen=True)
class Heard:
    """Per source its windows, second by second: which of them end a run that makes a finding."""

    sources: tuple[str, ...]
    seconds: np.ndarray
    found: np.ndarray
    verdict: Verdict

    def findings(self, source: str, start: float, end: float) -> int:
        inside = (self.seconds >= start) & (self.seconds < end)
        return int(self.found[self.sources.index(source), inside].sum())


def recorded() -> list[Sample]:
    told = json.loads(lzma.decompress(RECORDING.read_bytes()))["lines"]
    samples = [
        Sample(Series(entity, metric), at(second), value)
        for entity, metric, seconds, values in told
        for second, value in zip(seconds, values, strict=True)
    ]
    sources = sorted({sample.series.entity for sample in samples})
    twins = {one: other for one in sources for other in sources if one != other and one[:20] == other[:20]}
    rounds: dict[datetime, list[Sample]] = defaultdict(list)
    for sample in samples:
        rounds[sample.time].append(sample)
    return samples + [gap for round_ in rounds.values() for gap in twin_samples(round_, twins)]


@pytest.fixture(scope="module")
def heard() -> Heard:
    samples = recorded()
    sources = tuple(sorted({sample.series.entity for sample in samples}))
    platform = Topology([Entity(source, "source") for source in sources])

    def frame(ends: list[datetime]) -> FeatureFrame:
        return window_features(
            "source", samples, ends, DEMO.window_seconds, entities=sources, every=DEMO.scrape_seconds
        )

    halves = [frame(CALM.ends(*half)) for half in ((CALM.start, CALM.middle), (CALM.middle, CALM.end))]
    lesson = learn("source", *halves, seed=0)
    calibration = calibrated([lesson], platform, CALM, families=7, seed=0)
    threshold = calibration.thresholds["source"].value
    verdict = prove(lesson, calibration, None, CALM, range(len(sources)), 7, seed=0)
    seconds = np.arange(46, 515)
    whole = frame([CALM.start + timedelta(seconds=float(second) - 35) for second in seconds])
    strange = score_matrix(lesson.detector, whole)
    far = np.abs(lesson.detector.distances(whole.values)).max(axis=1).reshape(strange.shape)
    runs = debounced(np.where(far >= NOTABLE, strange, np.nan), DEMO.debounce_windows, CALM.phases)
    return Heard(sources, seconds[-runs.shape[1] :], runs > threshold, verdict)


def test_what_five_minutes_of_a_demo_teach_passes_the_gate_where_there_is_no_champion(heard: Heard) -> None:
    assert heard.verdict.passed, heard.verdict.reason
    assert heard.verdict.figures["gate_recall"] > 0.1  # at one page in twenty weeks


def test_quiet_music_raises_no_anomaly(heard: Heard) -> None:
    for source in heard.sources:
        assert heard.findings(source, 0, SILENT[0]) == 0, source


def test_dead_line_is_an_anomaly_of_its_source_and_not_of_the_twin(heard: Heard) -> None:
    assert heard.findings(PRIMARY, SILENT[0] + 25, SILENT[1]) == SILENT[1] - SILENT[0] - 25
    assert heard.findings(BACKUP, *SILENT) == 0


def test_the_passage_was_quiet_and_the_line_dead() -> None:
    levels = [s for s in recorded() if s.series == Series(PRIMARY, "source_level_dbfs")]

    def mean(start: float, end: float) -> float:
        return float(np.mean([s.value for s in levels if at(start) <= s.time < at(end)]))

    assert mean(*QUIET) < mean(100, 325) - 20
    assert mean(SILENT[0] + 2, SILENT[1]) == -120
