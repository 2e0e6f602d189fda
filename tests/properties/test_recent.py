"""The memory of the last minutes against lists and loops: late, repeated, out of order, with gaps, resets and NaN."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.definitions import FAMILIES, metrics
from feature_store.recent import Recent
from feature_store.windows import window_features
from policy.readings import after, entities_with, last, quiet, trailing_run
from tonewatch.records import Sample, Series

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
HORIZON = timedelta(seconds=30)
ENTITIES = ("component:a", "component:b", "edge:c")
LABELS = ((), (("code", "200"),), (("code", "503"),), (("rendition", "aac-64"),))


class NaiveRecent:
    """What Recent must do, as slowly and plainly as can be."""

    def __init__(self, largest: int) -> None:
        self.largest = largest
        self.oldest = datetime.min.replace(tzinfo=UTC)
        self.lines: list[tuple[Series, list[Sample]]] = []  # in the order in which the series came

    def add(self, samples: Sequence[Sample]) -> None:
        for sample in samples:
            if sample.time <= self.oldest:
                continue
            line = next((line for series, line in self.lines if series == sample.series), None)
            if line is None:
                line = []
                self.lines.append((sample.series, line))
            line.insert(sum(held.time <= sample.time for held in line), sample)

    def forget(self, now: datetime) -> None:
        self.oldest = max(self.oldest, now - HORIZON)
        self.lines = [(series, [s for s in line if s.time > self.oldest]) for series, line in self.lines]
        self._bound()
        self.lines = [(series, line) for series, line in self.lines if line]

    def _bound(self) -> None:
        for key in {(series.entity, series.metric) for series, _ in self.lines}:
            kept = {id(sample) for sample in self.readings()[key][-self.largest :]} if key in self.readings() else set()
            for series, line in self.lines:
                if (series.entity, series.metric) == key:
                    line[:] = [sample for sample in line if id(sample) in kept]

    def readings(self) -> dict[tuple[str, str], list[Sample]]:
        found: dict[tuple[str, str], list[Sample]] = {}
        for series, line in self.lines:
            if line:
                found.setdefault((series.entity, series.metric), []).extend(line)
        return {key: sorted(samples, key=lambda sample: sample.time) for key, samples in found.items()}


@st.composite
def histories(draw: st.DrawFn) -> tuple[str, list[list[Sample]]]:
    """Batches of a family's metrics; each drawn series is made anew or handed over again, as collectors may do."""
    family = draw(st.sampled_from(FAMILIES))
    names = draw(st.lists(st.sampled_from(sorted(metrics(family))), min_size=1, max_size=3, unique=True))
    points = st.tuples(
        st.sampled_from(ENTITIES),
        st.sampled_from(names),
        st.sampled_from(LABELS),
        st.integers(-80, 20),  # half seconds before the batch's own time, or ahead of it
        st.one_of(st.integers(0, 50).map(float), st.floats(0, 1e6), st.just(math.inf)),
        st.booleans(),
    )
    known: dict[tuple[str, str, tuple[tuple[str, str], ...]], Series] = {}
    batches = []
    for number, drawn in enumerate(draw(st.lists(st.lists(points, max_size=40), min_size=1, max_size=8))):
        batch = []
        for entity, metric, labels, step, value, anew in drawn:
            key = (entity, metric, labels)
            if anew or key not in known:
                known[key] = Series(entity, metric, labels)
            time = START + timedelta(seconds=10 * number) + timedelta(milliseconds=500 * step)
            batch.append(Sample(known[key], time, value))
        batches.append(batch)
    return family, batches


@given(histories(), st.integers(1, 60), st.booleans())
@settings(deadline=None)
def test_memory_holds_what_lists_hold(drawn: tuple[str, list[list[Sample]]], largest: int, forgets: bool) -> None:
    _, batches = drawn
    recent, naive = Recent(HORIZON), NaiveRecent(largest)
    recent.LARGEST = largest  # type: ignore[misc]  # the bound is drawn too
    for number, batch in enumerate(batches):
        now = START + timedelta(seconds=10 * number)
        for memory in (recent, naive):
            memory.add(batch)
            if forgets or number % 3 == 2:
                memory.forget(now)
        expected = naive.readings()
        assert recent.readings == expected
        assert len(recent.readings) == len(expected)
        window = (now - timedelta(seconds=12), now)
        inside = [s for samples in expected.values() for s in samples if window[0] < s.time <= window[1]]
        assert sorted(map(repr, recent.between(*window))) == sorted(map(repr, inside))


@given(histories())
@settings(deadline=None)
def test_rules_read_the_memory_as_they_read_lists(drawn: tuple[str, list[list[Sample]]]) -> None:
    _, batches = drawn
    recent, naive = Recent(HORIZON), NaiveRecent(Recent.LARGEST)
    for memory in (recent, naive):
        for batch in batches:
            memory.add(batch)
        memory.forget(START)
    lists = naive.readings()
    for second in range(-10, 80, 7):
        moment = START + timedelta(seconds=second)
        assert quiet(recent.readings, moment) == quiet(lists, moment)
    for metric in {metric for _, metric in lists} | {"no_such_metric"}:
        assert entities_with(recent.readings, metric) == entities_with(lists, metric)
        for entity in ENTITIES:
            assert last(recent.readings, entity, metric) == last(lists, entity, metric)
            held, plain = (readings.get((entity, metric), ()) for readings in (recent.readings, lists))
            assert trailing_run(held, below=25.0) == trailing_run(plain, below=25.0)
            assert list(held[1:-1]) == list(plain[1:-1])
            assert list(reversed(held)) == list(reversed(plain))
            later = START + timedelta(seconds=5)
            assert list(after(held, later)) == list(after(plain, later))


@given(histories())
@settings(deadline=None)
def test_live_features_are_bit_for_bit_those_of_the_samples(drawn: tuple[str, list[list[Sample]]]) -> None:
    family, batches = drawn
    recent, naive = Recent(HORIZON), NaiveRecent(Recent.LARGEST)
    for number, batch in enumerate(batches):
        now = START + timedelta(seconds=10 * number)
        for memory in (recent, naive):
            memory.add(batch)
            memory.forget(now)
        ends = [now - timedelta(seconds=5), now]
        held = [sample for samples in naive.readings().values() for sample in samples]
        for entities in (ENTITIES, ENTITIES[1:]):
            live = recent.features(family, ends, 10.0, entities=entities, every=1.0)
            replay = window_features(family, held, ends, 10.0, entities=entities, every=1.0)
            assert (live.entities, live.ends, live.names) == (replay.entities, replay.ends, replay.names)
            np.testing.assert_array_equal(live.values, replay.values)
            np.testing.assert_array_equal(live.coverage, replay.coverage)


@given(st.integers(1, 400), st.integers(1, 90))
@settings(deadline=None, max_examples=25)
def test_long_series_move_to_wider_rows_and_lose_nothing(length: int, at_once: int) -> None:
    recent, naive = Recent(timedelta(hours=1)), []
    series = Series("component:a", "up")
    crowd = [Series(f"component:{number}", "up") for number in range(80)]
    for first in range(0, length, at_once):
        times = [START + timedelta(seconds=second) for second in range(first, min(first + at_once, length))]
        batch = [Sample(series, time, float(number)) for number, time in enumerate(times, first)]
        naive += batch
        recent.add([*batch, *(Sample(each, times[0], 1.0) for each in crowd)])
        recent.forget(START)
    assert recent.readings["component:a", "up"] == naive
    assert len(recent.readings["component:79", "up"]) == -(-length // at_once)


def test_series_that_stopped_gives_its_row_to_the_next() -> None:
    recent = Recent(HORIZON)
    for number in range(200):
        now = START + timedelta(seconds=number)
        recent.add([Sample(Series("edge:a", "m", (("round", str(number)),)), now, 1.0)])
        recent.forget(now)
    (line,) = recent.readings.values()
    assert [dict(sample.series.labels)["round"] for sample in line] == [str(number) for number in range(170, 200)]
