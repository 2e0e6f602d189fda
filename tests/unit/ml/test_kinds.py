"""What every kind of model does: learns, is written down and read back, and says live what it says in batch."""

from __future__ import annotations

import numpy as np
import pytest

from feature_store.definitions import floors, names
from feature_store.recent import Recent
from feature_store.windows import FeatureFrame, window_features
from ml.champion import Champion
from ml.detectors.family import FamilyDetector, Strands
from ml.kinds import DEFAULT, family_and_kind, kind_of, kinds, parsed, told
from ml.kinds.base import Packed, read, written
from tasks.detect import HORIZON, detect, least_horizon
from tasks.train import refuse_far_sighted, score_matrix
from tests.unit.platform_parts import at, series
from tonewatch.errors import ModelError
from tonewatch.records import Entity, Sample
from tonewatch.settings import load_profile
from tonewatch.topology import Topology

DEMO, PLATFORM = load_profile("demo"), load_profile("platform")
SOURCES = ("component:source-ch1-backup", "component:source-ch1-primary")
TOPOLOGY = Topology([Entity(source, "source") for source in SOURCES])
SECONDS, FAULT = 700, 640


def telemetry(fault: int | None = None) -> list[Sample]:
    """Two calm sources, second by second; from `fault` on the first one's gap to its twin is 25 dB."""
    told_: list[Sample] = []
    for number, source in enumerate(SOURCES):
        chance = np.random.default_rng(number)
        gaps = np.minimum(0.0, chance.normal(0, 0.2, SECONDS))
        if fault is not None and number == 0:
            gaps[fault:] -= 25.0
        for metric, values in (
            ("source_samples_total", 48_000.0 * np.arange(SECONDS)),
            ("source_twin_gap_db", gaps),
            ("process_cpu_seconds_total", np.cumsum(np.abs(chance.normal(0.01, 0.002, SECONDS)))),
            ("event_loop_lag_seconds", chance.exponential(0.004, SECONDS)),
            ("scrape_seconds", chance.exponential(0.01, SECONDS)),
        ):
            told_ += series(source, metric, values.tolist())
    return told_


def frame(fault: int | None = None) -> FeatureFrame:
    ends = [at(second) for second in range(15, SECONDS, 5)]
    return window_features("source", telemetry(fault), ends, 10.0, entities=SOURCES)


def strands(of: FeatureFrame) -> Strands:
    values = of.values.reshape(len(SOURCES), -1, len(of.names))
    return Strands(values, np.isfinite(values).any(axis=2))


@pytest.fixture(scope="module", params=sorted(kinds()))
def learned(request: pytest.FixtureRequest) -> FamilyDetector:
    kind = kind_of(request.param)
    if kind.needs:
        pytest.importorskip(kind.needs, reason="the optional group `learning` is not installed")
    return kind.make(names("source"), floors("source"), 1).teach([strands(frame())])


def test_a_fault_scores_above_all_calm_windows(learned: FamilyDetector) -> None:
    scores = score_matrix(learned, frame(FAULT))
    calm = score_matrix(learned, frame())
    assert scores.shape == (2, 137)
    assert np.isnan(scores[:, : learned.looks_back]).all()
    assert ((scores >= 0) & (scores <= 1))[:, learned.looks_back :].all()
    assert scores[0, 130:].min() > np.nanmax(calm)
    np.testing.assert_allclose(scores[1], calm[1])
    assert next(iter(learned.explain(frame(FAULT).values[135]))) == "twin_gap_mean"
    assert learned.noticed(float(np.nanmax(calm)))["twin_gap_mean"] < 100


def test_a_watcher_scores_each_window_as_the_batch_does(learned: FamilyDetector) -> None:
    batch = score_matrix(learned, frame(FAULT))
    recent = Recent(HORIZON)
    recent.add([sample for sample in telemetry(FAULT) if sample.time > at(SECONDS - 1) - HORIZON])
    champion = Champion("source", learned, 0.0, 0.05)
    found = detect({}, recent, {"source": champion}, TOPOLOGY, at(695), DEMO)
    (condition,) = found.values()
    assert condition.detector == f"{learned.kind}:source"
    assert condition.entity == SOURCES[0]
    assert condition.score == pytest.approx(batch[0, 136], rel=1e-9)


def test_what_is_written_down_scores_the_same_and_the_same_bytes_come_again(learned: FamilyDetector) -> None:
    kind = kind_of(learned.kind)
    packed = kind.pack(learned)
    files = written(packed.state)
    assert files == written(packed.state)
    back = kind.unpack(Packed(read(*files), packed.pipeline))
    np.testing.assert_array_equal(score_matrix(back, frame(FAULT)), score_matrix(learned, frame(FAULT)))
    np.testing.assert_array_equal(back.distances(frame().values), learned.distances(frame().values))


def test_the_same_windows_and_seed_give_the_same_model(learned: FamilyDetector) -> None:
    again = kind_of(learned.kind).make(names("source"), floors("source"), 1).teach([strands(frame())])
    np.testing.assert_array_equal(score_matrix(again, frame(FAULT)), score_matrix(learned, frame(FAULT)))


def test_a_window_depends_on_as_many_before_it_as_the_model_says(learned: FamilyDetector) -> None:
    values = strands(frame()).values[:1]
    far = values.copy()
    far[:, : -learned.looks_back - 1] = 1e6
    assert learned.strangeness(far)[0, -1] == pytest.approx(learned.strangeness(values)[0, -1], rel=1e-9)


def test_windows_that_lack_too_much_are_not_scored_and_say_nothing_of_the_next(learned: FamilyDetector) -> None:
    values = strands(frame()).values[:1].copy()
    values[0, -2] = np.nan
    scores = learned.strangeness(values)
    assert np.isnan(scores[0, -2])
    assert np.isfinite(scores[0, -1])
    assert learned.strangeness(values[:0]).shape[0] == 0
    with pytest.raises(ModelError, match="lack more than half"):
        learned.score(values[0])


@pytest.mark.parametrize("kind", sorted(kinds()))
def test_every_kind_sees_all_that_it_needs_in_the_profiles_that_come_with_the_house(kind: str) -> None:
    for profile in (DEMO, PLATFORM):
        refuse_far_sighted(kind, "edge", profile)
    slow = PLATFORM.model_copy(update={"tick_seconds": 120.0, "window_seconds": 120.0})
    assert least_horizon(0, slow) <= HORIZON
    if kind != DEFAULT:
        with pytest.raises(ModelError, match="train edge as another kind"):
            refuse_far_sighted(kind, "edge", slow)


def test_too_little_calm_is_refused(learned: FamilyDetector) -> None:
    few = Strands(strands(frame()).values[:, :5], strands(frame()).judged[:, :5])
    with pytest.raises(ModelError, match="10 usable rows"):
        kind_of(learned.kind).make(names("source"), floors("source"), 0).teach([few])


def test_versions_and_names_say_family_and_kind() -> None:
    assert (told("isolation-forest", "3"), told("row-ensemble", "3")) == ("3", "row-ensemble/3")
    assert (parsed("3"), parsed("row-ensemble/3")) == (("isolation-forest", "3"), ("row-ensemble", "3"))
    assert family_and_kind("edge-lstm-forecast") == ("edge", "lstm-forecast")
    assert family_and_kind("somebody-elses") is None
    with pytest.raises(ModelError, match="no kind of model 'crystal-ball'; kinds are isolation-forest, lstm-forecast"):
        parsed("crystal-ball/3")


def test_files_that_are_none_of_ours_are_refused() -> None:
    document, arrays = written({"a": np.arange(3.0), "b": (1, None, "x")})
    assert read(document, arrays)["b"] == [1, None, "x"]
    for wrong in ((document, arrays[:-30]), (document, b""), (b"{", arrays), (b'{"array of": "a7"}', arrays)):
        with pytest.raises(ModelError, match="cannot be read"):
            read(*wrong)
