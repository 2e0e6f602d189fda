"""Remote write's two messages, written here by the specifications' tables of fields and read by the gateway."""

from __future__ import annotations

import contextlib
import math
import struct

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.remote_write import MAX_LABEL_BYTES, MAX_LABELS, Format, Labelled, Reader, unpacked
from tonewatch.errors import PayloadError, PayloadTooLarge
from tonewatch.records import SeriesKind

Labels = list[tuple[str, str]]
Samples = list[tuple[int, float]]


# --- A naive writer of the wire format (protobuf's encoding), so that the reader is not held against itself.
def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    written = b""
    while value > 0x7F:
        written, value = written + bytes([value & 0x7F | 0x80]), value >> 7
    return written + bytes([value])


def chunk(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def sample(time: int, value: float) -> bytes:
    return b"\x09" + struct.pack("<d", value) + b"\x10" + varint(time)


def series_v1(labels: Labels, samples: Samples, further: bytes = b"") -> bytes:
    told = b"".join(chunk(1, chunk(1, name.encode()) + chunk(2, value.encode())) for name, value in labels)
    return chunk(1, told + b"".join(chunk(2, sample(*each)) for each in samples) + further)


def body_v1(*series: bytes) -> bytes:
    return bytes(cramjam.snappy.compress_raw(b"".join(series)))


def body_v2(*series: tuple[Labels, Samples, int, str]) -> bytes:
    symbols = [""]

    def reference(text: str) -> int:
        if text not in symbols:
            symbols.append(text)
        return symbols.index(text)

    told = b""
    for labels, samples, kind, unit in series:
        refs = b"".join(varint(reference(text)) for pair in labels for text in pair)
        metadata = varint(1 << 3) + varint(kind) + varint(4 << 3) + varint(reference(unit))
        content = chunk(1, refs) + b"".join(chunk(2, sample(*each)) for each in samples) + chunk(5, metadata)
        told += chunk(5, content)
    return bytes(cramjam.snappy.compress_raw(b"".join(chunk(4, text.encode()) for text in symbols) + told))


def read(body: bytes, form: Format = Format.V1, **limits: int) -> list[tuple[Labelled, int, float]]:
    found = Reader(lambda told: told).read(body, form, **({"max_bytes": 1 << 20, "max_samples": 10_000} | limits))
    assert not found.refused
    flat = [each for each, count in zip(found.series, found.counts, strict=True) for _ in range(count)]
    return list(zip(flat, found.times, found.values, strict=True))


def why(body: bytes, form: Format = Format.V1) -> dict[str, int]:
    return dict(Reader(lambda told: told).read(body, form, max_bytes=1 << 20, max_samples=10_000).refused)


UP: Labels = [("__name__", "up"), ("instance", "a:1"), ("job", "x")]

names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=8)
label_sets = st.dictionaries(names.filter(lambda name: name != "__name__"), names, max_size=5)
runs = st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False)), max_size=4)


@given(st.lists(st.tuples(names, label_sets, runs), max_size=5), st.sampled_from(Format))
def test_what_was_written_is_what_is_read(told: list[tuple[str, dict[str, str], Samples]], form: Format) -> None:
    listed = [([("__name__", metric), *sorted(labels.items())], samples) for metric, labels, samples in told]
    if form is Format.V1:
        body = body_v1(*(series_v1(labels, samples) for labels, samples in listed))
    else:
        body = body_v2(*((labels, samples, 0, "") for labels, samples in listed))
    found = [(each.metric, dict(each.labels), time, value) for each, time, value in read(body, form)]
    assert found == [(metric, labels, *each) for metric, labels, samples in told for each in samples]


def test_the_end_mark_of_a_series_comes_through_as_no_number() -> None:
    stale = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
    ((_, time, value),) = read(body_v1(series_v1(UP, [(5, stale)])))
    assert (time, math.isnan(value)) == (5, True)


def test_a_series_is_known_again_by_its_labels_alone() -> None:
    asked: list[Labelled] = []

    def resolve(told: Labelled) -> int:
        asked.append(told)
        return len(asked)

    reader = Reader(resolve)
    body = body_v1(series_v1(UP, [(1, 1.0)]), series_v1([("__name__", "down")], [(1, 1.0)]))
    for _ in range(2):
        assert reader.read(body, Format.V1, max_bytes=1000, max_samples=10).series == [1, 2]
    assert [told.metric for told in asked] == ["up", "down"]


def test_types_and_units_come_from_the_metadata_of_2_0_or_from_the_name() -> None:
    body = body_v2(
        ([("__name__", "a")], [(1, 1.0)], 1, "seconds"),
        ([("__name__", "b_total")], [(1, 1.0)], 2, ""),
        ([("__name__", "c_total")], [(1, 1.0)], 0, ""),
    )
    found = [(told.unit, told.kind) for told, _, _ in read(body, Format.V2)]
    assert found == [("seconds", SeriesKind.COUNTER), ("", SeriesKind.GAUGE), ("", SeriesKind.COUNTER)]
    ((told, _, _),) = read(body_v1(series_v1([("__name__", "x_bucket")], [(1, 1.0)])))
    assert told.kind is SeriesKind.COUNTER


def test_what_is_not_kept_is_counted() -> None:
    body = body_v1(series_v1(UP, [(1, 1.0)], chunk(3, b"") + chunk(4, b"") + chunk(4, b"")))
    found = Reader(lambda told: told).read(body, Format.V1, max_bytes=1000, max_samples=10)
    assert (found.exemplars, found.histograms) == (1, 2)


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ([("job", "x")], "without __name__"),
        ([("__name__", "up"), ("a", "1"), ("a", "2")], "same label twice"),
        ([("__name__", "up"), ("", "1")], "without a name"),
        ([("__name__", "up"), ("a", "1\0")], "zero character"),
        ([("__name__", "up"), ("a", "x" * (MAX_LABEL_BYTES + 1))], "of more than"),
        ([("__name__", "up"), *((f"a{n}", "x") for n in range(MAX_LABELS))], "more than"),
    ],
)
def test_a_bad_series_is_refused_with_its_reason_and_the_others_are_read(labels: Labels, reason: str) -> None:
    body = body_v1(series_v1(labels, [(1, 1.0), (2, 1.0)]), series_v1(UP, [(1, 1.0)]))
    found = Reader(lambda told: told.metric).read(body, Format.V1, max_bytes=1 << 20, max_samples=10)
    assert (found.series, list(found.times)) == (["up"], [1])
    ((told, samples),) = found.refused.items()
    assert reason in told
    assert samples == 2


def test_a_label_that_is_no_utf_8_is_refused() -> None:
    label = chunk(1, chunk(1, b"__name__") + chunk(2, b"up")) + chunk(1, chunk(1, b"a") + chunk(2, b"\xff\xfe"))
    assert why(body_v1(chunk(1, label + chunk(2, sample(1, 1.0))))) == {"a label that is no UTF-8": 1}


def test_a_body_cut_off_anywhere_is_an_error_and_never_half_read() -> None:
    body = body_v1(series_v1(UP, [(1, 1.0)]), series_v1([("__name__", "down")], [(1, 1.0)]))
    for end in range(len(body)):
        with pytest.raises(PayloadError):
            read(body[:end])


def test_a_bomb_is_refused_by_its_head() -> None:
    bomb = bytes(cramjam.snappy.compress_raw(bytes(50_000_000)))
    with pytest.raises(PayloadTooLarge, match="larger than"):
        unpacked(bomb, 1 << 20)
    with pytest.raises(PayloadTooLarge):
        unpacked(b"\xff\xff\xff\xff\x0f" + b"x" * 10, 1 << 20)
    with pytest.raises(PayloadError):
        unpacked(b"\x64" + bytes(cramjam.snappy.compress_raw(bytes(50_000_000)))[4:], 1 << 20)


def test_too_many_samples_are_refused() -> None:
    with pytest.raises(PayloadTooLarge, match="3 samples"):
        read(body_v1(series_v1(UP, [(time, 1.0) for time in range(4)])), max_samples=3)


@pytest.mark.parametrize(
    ("symbols", "refs", "reason"),
    [
        ([b"", b"__name__", b"up"], [1, 9], "symbol that is not there"),
        ([b"x", b"__name__", b"up"], [1, 2], "first symbol"),
    ],
)
def test_a_message_of_2_0_that_contradicts_itself_is_an_error(
    symbols: list[bytes], refs: list[int], reason: str
) -> None:
    series = chunk(5, chunk(1, b"".join(map(varint, refs))) + chunk(2, sample(1, 1.0)))
    body = bytes(cramjam.snappy.compress_raw(b"".join(chunk(4, text) for text in symbols) + series))
    with pytest.raises(PayloadError, match=reason):
        read(body, Format.V2)


def test_a_label_of_2_0_without_its_value_is_refused() -> None:
    series = chunk(5, chunk(1, varint(1)) + chunk(2, sample(1, 1.0)))
    body = bytes(cramjam.snappy.compress_raw(chunk(4, b"") + chunk(4, b"__name__") + series))
    assert why(body, Format.V2) == {"a label without a value": 1}


@given(st.binary(max_size=200), st.sampled_from(Format))
def test_any_bytes_are_read_or_refused_and_never_anything_else(body: bytes, form: Format) -> None:
    for told in (body, bytes(cramjam.snappy.compress_raw(body))):
        with contextlib.suppress(PayloadError):
            Reader(lambda labelled: labelled).read(told, form, max_bytes=10_000, max_samples=100)
