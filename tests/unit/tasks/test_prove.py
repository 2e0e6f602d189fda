"""Proving against a champion that fails, on windows of hand-made samples."""

from __future__ import annotations

import copy
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pytest

from feature_store.windows import FeatureFrame, Floats, window_features
from ml.calibration import Calibration
from ml.detectors.family import FamilyDetector
from ml.detectors.isolation_forest import ForestDetector
from tasks.prove import Verdict, prove
from tasks.train import Lesson, Stretch, calibrated, learn
from tests.unit.transcoders import PARTS, at, forest, telemetry
from tonewatch.errors import ModelError, ModelFails
from tonewatch.records import Entity
from tonewatch.settings import load_profile
from tonewatch.topology import Topology

DEMO = load_profile("demo")
CALM = Stretch("t", at(0), at(600), DEMO)


@pytest.fixture(scope="module")
def learned() -> tuple[Lesson, Calibration]:
    samples = telemetry(0, 600)

    def frame(ends: list[datetime]) -> FeatureFrame:
        return window_features(
            "transcode", samples, ends, DEMO.window_seconds, entities=PARTS, every=DEMO.scrape_seconds
        )

    halves = [frame(CALM.ends(*half)) for half in ((CALM.start, CALM.middle), (CALM.middle, CALM.end))]
    lesson = learn("transcode", *halves, seed=0, phases=CALM.phases)
    platform = Topology([Entity(part, "transcode") for part in PARTS])
    return lesson, calibrated([lesson], platform, CALM, families=1, seed=0)


class Torn(ForestDetector):
    """It scores what is calm, and fails on what is far from it."""

    def strangeness(self, strands: Floats) -> Floats:
        if (abs(self.distances(strands.reshape(-1, len(self.names)))) > 30).any():
            raise RuntimeError("out of range")
        return super().strangeness(strands)


class Choosy(ForestDetector):
    """It can score a few windows alone."""

    def usable(self, rows: Floats) -> npt.NDArray[np.bool_]:
        return super().usable(rows) & (np.arange(len(rows)) < 9)


class Starved(ForestDetector):
    """The machine has no room for its scores."""

    def strangeness(self, strands: Floats) -> Floats:
        raise MemoryError(f"no room for {len(strands)} rows")


def proved(learned: tuple[Lesson, Calibration], champion: FamilyDetector | None) -> Verdict:
    lesson, calibration = learned
    return prove(lesson, calibration, champion, CALM, [0, 1], 1, seed=1)


def test_a_champion_that_scores_is_a_rival(learned: tuple[Lesson, Calibration]) -> None:
    told = proved(learned, forest("7"))
    assert (told.champion, "the champion 7" in told.reason) == ("7", True)


@pytest.mark.parametrize("where", ["on calm", "on anomalies"])
def test_a_champion_that_fails_is_no_rival(
    learned: tuple[Lesson, Calibration], caplog: pytest.LogCaptureFixture, where: str
) -> None:
    whole = forest("7")
    pipeline = copy.deepcopy(whole.pipeline)
    assert pipeline is not None
    if where == "on calm":
        del pipeline["impute"]._fill_dtype  # as another scikit-learn would have written it
    champion = Torn.restored(pipeline, whole.names, whole.floors, whole.limits, "7")
    told = proved(learned, champion)
    assert told == proved(learned, None)
    assert (told.passed, told.standing) == (True, "champion")
    assert "the champion of transcode is no rival: the model 7 of transcode fails" in caplog.text


@pytest.mark.parametrize(
    ("kind", "why"), [(Choosy, "to calibrate on; at least 20 are needed"), (Starved, "was not asked: MemoryError")]
)
def test_too_little_calm_or_room_for_a_champion_is_no_failure_of_its(
    learned: tuple[Lesson, Calibration], kind: type[ForestDetector], why: str
) -> None:
    """Or what was learned would take its place without any comparison."""
    whole = forest("7")
    with pytest.raises(ModelError, match=why) as told:
        proved(learned, kind.restored(whole.pipeline, whole.names, whole.floors, whole.limits, "7"))
    assert not isinstance(told.value, ModelFails)
