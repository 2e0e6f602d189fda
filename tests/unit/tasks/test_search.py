"""A search on a calm recording: deterministic, within its budget, and of the half that teaches alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from feature_store.windows import FeatureFrame, window_features
from ml import gate
from ml.search import Trial, chosen
from tasks.search import parted, search
from tasks.train import Stretch, learn
from tests.unit.ml.test_kinds import SECONDS, SOURCES, telemetry
from tests.unit.platform_parts import START, at
from tonewatch.clock import ManualClock
from tonewatch.settings import Search, load_profile

DEMO = load_profile("demo").model_copy(update={"scrape_seconds": 5.0})
STRETCH = Stretch("t", START, at(2 * SECONDS), DEMO)


@pytest.fixture(scope="module")
def half() -> FeatureFrame:
    ends = [end for end in STRETCH.ends(STRETCH.start, STRETCH.middle) if end < at(SECONDS)]
    return window_features("source", telemetry(), ends, DEMO.window_seconds, entities=SOURCES)


def tried(half: FeatureFrame, trials: int, *, seed: int = 1, seconds: float = 600.0, clock: ManualClock | None = None):  # type: ignore[no-untyped-def] # a list of trials
    effort = Search(trials=trials, seconds=seconds)
    return search("source", half, [0, 1], 1, STRETCH, seed=seed, effort=effort, clock=clock or ManualClock(START))


def told(trials: list[Trial]) -> list[tuple[str, list[bool], float, str]]:
    return [(str(each.settings), each.found.tolist(), each.threshold, each.failure) for each in trials]


def test_the_same_data_and_seed_give_the_same_trials_and_the_same_choice(half: FeatureFrame) -> None:
    first, again = tried(half, 4), tried(half, 4)
    assert told(first) == told(again)
    assert chosen(first).settings == chosen(again).settings
    assert told(tried(half, 2)) == told(first)[:2]
    assert [len(each.found) for each in first] == [gate.INJECTED] * 4
    assert first[0].settings == {"trees": 100, "samples": 256, "narrowest": 3.0}


class Hurrying(ManualClock):
    """A clock on which every look takes a minute."""

    def monotonic(self) -> float:
        self.advance(60.0)
        return super().monotonic()


def test_time_cuts_the_list_and_never_the_defaults(half: FeatureFrame) -> None:
    whole = tried(half, 4)
    assert told(tried(half, 4, seconds=130.0, clock=Hurrying(START))) == told(whole)[:3]
    assert told(tried(half, 4, seconds=1.0, clock=Hurrying(START))) == told(whole)[:1]


def test_a_half_that_is_too_short_is_not_searched(half: FeatureFrame) -> None:
    short = replace(half, coverage=np.zeros(len(half.coverage)))
    assert tried(short, 4) == []


def test_a_candidate_that_fails_is_told_and_the_others_are_tried(half: FeatureFrame) -> None:
    effort = Search(trials=3)
    found = search("source", half, [0, 1], 1, STRETCH, seed=1, kind="row-ensemble", effort=effort)
    assert [("usable rows" in each.failure) for each in found] == [True] * 3
    assert chosen(found) is found[0]


def test_settings_that_were_chosen_are_those_of_what_is_learned(half: FeatureFrame) -> None:
    teaching, judging = parted(half, DEMO.window_seconds)
    lesson = learn("source", teaching, judging, seed=1, settings={"trees": 30})
    assert lesson.settings == {"trees": 30}
    for detector in (lesson.pupil, lesson.detector):
        assert len(detector.pipeline["forest"].estimators_) == 30  # type: ignore[attr-defined]
