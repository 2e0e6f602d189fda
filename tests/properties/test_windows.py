"""The windowing function against a naive second implementation, on any order, gaps, resets and repeats."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.definitions import FAMILIES, Feature, Reading, features, metrics
from feature_store.windows import window_features
from tonewatch.records import Sample, Series

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
ENTITIES = ("component:a", "component:b")


def naive_feature(feature: Feature, samples: Sequence[Sample], end: datetime, seconds: float) -> float:
    """One feature of one entity in one window, by dictionaries and loops."""
    series: dict[Series, dict[datetime, float]] = {}
    for sample in samples:
        if end - timedelta(seconds=seconds) < sample.time <= end and np.isfinite(sample.value):
            values = series.setdefault(sample.series, {})
            values[sample.time] = max(sample.value, values.get(sample.time, -np.inf))

    def lines(names: tuple[str, ...], where: tuple[tuple[str, str], ...] = ()) -> list[list[tuple[datetime, float]]]:
        return [
            sorted(values.items())
            for line, values in series.items()
            if line.metric in names
            and all(dict(line.labels).get(label, "").startswith(prefix) for label, prefix in where)
        ]

    def increase(line: list[tuple[datetime, float]]) -> float:
        return sum(after if after < before else after - before for (_, before), (_, after) in pairwise(line))

    chosen = lines(feature.metrics, feature.where)
    counted = [line for line in chosen if len(line) >= 2]
    if feature.reading is Reading.RATE:
        rates = [increase(line) / (line[-1][0] - line[0][0]).total_seconds() for line in counted]
        return sum(rates) if rates else float("nan")
    if feature.reading is Reading.RATIO:
        below = sum(increase(line) for line in lines(feature.per) if len(line) >= 2)
        return sum(increase(line) for line in counted) / below if below > 0 else float("nan")
    levels = [[value for _, value in line] for line in chosen]
    if not levels:
        return float("nan")
    if feature.reading is Reading.MEAN:
        return sum(sum(level) / len(level) for level in levels) / len(levels)
    return max(max(level) for level in levels)


@st.composite
def telemetry(draw: st.DrawFn) -> tuple[str, list[Sample]]:
    family = draw(st.sampled_from(FAMILIES))
    names = sorted(metrics(family))
    labels = [(), (("code", "200"),), (("code", "503"),), (("rendition", "aac-64"),)]
    points = st.tuples(
        st.sampled_from(ENTITIES),
        st.sampled_from(names),
        st.sampled_from(labels),
        st.integers(0, 120).map(lambda tenths: tenths * 250),  # milliseconds: times meet the windows' edges
        st.one_of(st.integers(0, 50).map(float), st.floats(0, 1e6), st.just(float("nan")), st.just(float("inf"))),
    )
    drawn = draw(st.lists(points, max_size=120))
    return family, [
        Sample(Series(entity, metric, line), START + timedelta(milliseconds=time), value)
        for entity, metric, line, time, value in drawn
    ]


ENDS = [START + timedelta(seconds=second) for second in (0, 5, 10, 11, 30, 60)]


@given(telemetry())
@settings(deadline=None)
def test_features_equal_those_of_the_naive_implementation(drawn: tuple[str, list[Sample]]) -> None:
    family, samples = drawn
    frame = window_features(family, samples, ENDS, 10.0, entities=ENTITIES)
    for row, (entity, end) in enumerate(zip(frame.entities, frame.ends, strict=True)):
        own = [sample for sample in samples if sample.series.entity == entity]
        expected = [naive_feature(feature, own, end, 10.0) for feature in features(family)]
        np.testing.assert_allclose(frame.values[row], expected, rtol=1e-9, atol=1e-9)


@given(telemetry(), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_late_repeated_and_shuffled_samples_change_no_bit(
    drawn: tuple[str, list[Sample]], chance: random.Random
) -> None:
    family, samples = drawn
    mixed = [*samples, *chance.sample(samples, len(samples) // 2)]
    chance.shuffle(mixed)
    tidy = window_features(family, sorted(samples, key=lambda sample: sample.time), ENDS, 10.0, entities=ENTITIES)
    untidy = window_features(family, mixed, ENDS, 10.0, entities=ENTITIES)
    np.testing.assert_array_equal(tidy.values, untidy.values)
    np.testing.assert_array_equal(tidy.coverage, untidy.coverage)


@given(telemetry())
@settings(deadline=None)
def test_a_window_alone_gives_bit_for_bit_what_the_replay_gives(drawn: tuple[str, list[Sample]]) -> None:
    family, samples = drawn
    replay = window_features(family, samples, ENDS, 10.0, entities=ENTITIES)
    for position, end in enumerate(ENDS):
        recent = [sample for sample in samples if end - timedelta(seconds=10) < sample.time <= end]
        live = window_features(family, recent, [end], 10.0, entities=ENTITIES)
        np.testing.assert_array_equal(live.values, replay.values[position :: len(ENDS)])
        np.testing.assert_array_equal(live.coverage, replay.coverage[position :: len(ENDS)])
