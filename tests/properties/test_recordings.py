"""A recording holds what was put in, bit for bit, in whatever order and pieces that came."""

from __future__ import annotations

import random
import struct
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tonewatch.keeping import CHANGES, Keeper, series_key
from tonewatch.recording import Recording, open_recording
from tonewatch.records import Sample, Series, SeriesKind

START = datetime(2026, 2, 28, 23, 59, tzinfo=UTC)
END = START + timedelta(minutes=10)

series = st.builds(
    Series,
    entity=st.sampled_from(["component:a", "edge:b"]),
    metric=st.sampled_from(["up", "lag"]),
    labels=st.sampled_from([(), (("a", "1"),), (("a", "1"), ("ü", "'\"\\\n"))]),
    unit=st.just("s"),
    kind=st.just(SeriesKind.COUNTER),
)
times = st.integers(0, 599_999_999).map(lambda step: START + timedelta(microseconds=step))
#: Any eight bytes, so also every NaN, both zeros, and what is no normal number.
values = st.one_of(st.sampled_from([0.0, -0.0, 1.0]), st.binary(min_size=8, max_size=8).map(lambda b: _float(b)))


def _float(held: bytes) -> float:
    return float(struct.unpack("<d", held)[0])


samples = st.lists(
    st.builds(Sample, series=series, time=times, value=values),
    max_size=25,
    unique_by=lambda sample: (sample.series, sample.time),
)


def write(folder: Path, told: list[Sample], cuts: list[datetime], order: random.Random) -> Recording:
    """The samples in chunks that end at `cuts`, each in an order of chance."""
    keeper = Keeper(folder, {sample.series for sample in told})
    keeper.lines(CHANGES, [])
    begin = START
    for end in [*sorted(cuts), END]:
        part = [sample for sample in told if begin <= sample.time < end]
        order.shuffle(part)
        keeper.chunk(part)
        begin = end
    keeper.close(START, END, 1.0, {}, "a test", "a test")
    return open_recording(folder)


def bits(told: list[Sample]) -> list[tuple[object, datetime, bytes]]:
    return [(sample.series, sample.time, struct.pack("<d", sample.value)) for sample in told]


@settings(max_examples=60, deadline=None)
@given(samples, st.lists(times, max_size=3, unique=True), st.randoms(use_true_random=False))
def test_what_is_read_is_what_was_written(told: list[Sample], cuts: list[datetime], order: random.Random) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = write(Path(folder) / "a", told, cuts, order)
        assert found.verify() == found.hash
        expected = sorted(told, key=lambda sample: (sample.time, series_key(sample.series)))
        assert bits(list(found.samples())) == bits(expected)
        columns = list(found.columns())
        assert sum(len(each.times) for each in columns) == len(told) == found.counts["samples"]
        assert all(each.values.dtype == np.float64 for each in columns)


@settings(max_examples=40, deadline=None)
@given(samples, st.lists(times, max_size=3, unique=True), st.randoms(use_true_random=False))
def test_neither_order_nor_pieces_change_the_hash(
    told: list[Sample], cuts: list[datetime], order: random.Random
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        one = write(Path(folder) / "a", told, [], order)
        other = write(Path(folder) / "b", list(reversed(told)), cuts, order)
        assert one.hash == other.hash


@settings(max_examples=40, deadline=None)
@given(samples.filter(bool), st.data())
def test_another_bit_is_another_hash(told: list[Sample], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(told) - 1))
    flipped = bytearray(struct.pack("<d", told[at].value))
    flipped[data.draw(st.integers(0, 7))] ^= 1 << data.draw(st.integers(0, 7))
    changed = [*told[:at], Sample(told[at].series, told[at].time, _float(bytes(flipped))), *told[at + 1 :]]
    with tempfile.TemporaryDirectory() as folder:
        one = write(Path(folder) / "a", told, [], random.Random(1))
        other = write(Path(folder) / "b", changed, [], random.Random(1))
        assert one.hash != other.hash
