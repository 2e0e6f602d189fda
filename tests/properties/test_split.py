"""No window that is learned from overlaps one that is held out, however far a model looks back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Self

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from feature_store.windows import FeatureFrame
from ml.detectors.base import Floats
from ml.detectors.family import FamilyDetector, Strands
from tasks.search import parted
from tasks.train import Stretch, score_matrix
from tonewatch.settings import Profile, load_profile

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
NAMES = ("begins",)


class Earliest(FamilyDetector):
    """Scores a window by the earliest sample that a model looking back so far would have seen for it."""

    kind = "earliest"

    def __init__(self, looks_back: int) -> None:
        super().__init__(NAMES)
        self.looks_back = looks_back

    def teach(self, parts: Sequence[Strands]) -> Self:
        return self

    def fit(self, rows: Floats) -> Self:
        return self

    def score(self, rows: Floats) -> Floats:
        return rows[:, 0]

    def explain(self, row: Floats) -> dict[str, float]:
        return {}

    def distances(self, rows: Floats) -> Floats:
        return rows

    def typical(self) -> tuple[Floats, Floats]:
        return np.zeros(1), np.ones(1)

    def strangeness(self, strands: Floats) -> Floats:
        rows, back = strands.shape[1], self.looks_back
        return np.array([strands[:, at - back : at + 1, 0].min(axis=1) for at in range(back, rows)]).T


def frame(ends: Sequence[datetime], window: float, entities: int) -> FeatureFrame:
    """Windows whose only feature is when they begin."""
    begins = np.array([end.timestamp() - window for end in ends])
    return FeatureFrame(
        "edge",
        tuple(f"edge:{number}" for number in range(entities) for _ in ends),
        tuple(end for _ in range(entities) for end in ends),
        NAMES,
        np.tile(begins, entities)[:, None],
        np.ones(entities * len(ends)),
    )


@st.composite
def stretches(draw: st.DrawFn) -> Stretch:
    scrape = draw(st.sampled_from([1.0, 5.0, 15.0, 60.0]))
    profile: Profile = load_profile("platform").model_copy(
        update={
            "scrape_seconds": scrape,
            "tick_seconds": scrape * draw(st.integers(1, 5)),
            "window_seconds": scrape * draw(st.integers(1, 12)),
        }
    )
    long = timedelta(seconds=draw(st.floats(20.0, 60.0)) * (profile.tick_seconds + profile.window_seconds))
    return Stretch("t", START, START + long, profile)


@given(stretches(), st.integers(0, 10), st.integers(1, 3))
def test_what_judges_has_seen_nothing_that_taught(stretch: Stretch, back: int, entities: int) -> None:
    profile = stretch.profile
    learned = stretch.ends(stretch.start, stretch.middle)
    held_out = stretch.ends(stretch.middle, stretch.end)
    assume(learned and held_out)
    scores = score_matrix(Earliest(back), frame(held_out, profile.window_seconds, entities), stretch.phases)
    seen = scores[np.isfinite(scores)]
    assume(len(seen))
    assert seen.min() >= stretch.middle.timestamp() - 1e-6 >= max(learned).timestamp() - 2e-6
    judged = [end for end, column in zip(held_out, scores.T, strict=True) if np.isfinite(column).any()]
    embargo = profile.window_seconds + back * profile.tick_seconds
    assert (min(judged) - stretch.middle).total_seconds() >= embargo - 1e-6


@given(stretches(), st.integers(0, 10), st.integers(1, 3))
def test_what_judges_a_trial_has_seen_nothing_that_taught_it(stretch: Stretch, back: int, entities: int) -> None:
    window, ends = stretch.profile.window_seconds, stretch.ends(stretch.start, stretch.middle)
    assume(ends)
    teaching, judging = parted(frame(ends, window, entities), window)
    assert len(set(teaching.ends) | set(judging.ends)) <= len(ends)
    assume(teaching.ends and judging.ends)
    scores = score_matrix(Earliest(back), judging, stretch.phases)
    assume(np.isfinite(scores).any())
    assert np.nanmin(scores) >= max(teaching.ends).timestamp() - 1e-6
    for part in (teaching, judging):
        assert len(part.values) == len(part.ends) == len(part.entities) == len(part.coverage)
        np.testing.assert_allclose(part.values[:, 0], [end.timestamp() - window for end in part.ends])
