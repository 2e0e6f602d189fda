"""Prometheus' remote write: what a sender pushes, in the 1.0 and the 2.0 format, as columns of samples.

Formats: the Prometheus Remote-Write specifications 1.0 and 2.0. What Tonewatch does not keep (exemplars, native
histograms) is counted, so that the answer can say so.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Any, Final, Generic, TypeVar

import cramjam
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from tonewatch.errors import PayloadError, PayloadTooLarge
from tonewatch.records import SeriesKind

#: The label under which Prometheus keeps a metric's name.
NAME: Final = "__name__"
#: Since when Prometheus counts its milliseconds.
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
#: A series with more labels, or a longer one, costs more to store than it can tell.
MAX_LABELS: Final = 64
MAX_LABEL_BYTES: Final = 2048
#: Bytes of labels by which a reader remembers series, so that only new ones are decoded: some 200,000 usual ones.
REMEMBERED_BYTES: Final = 64 * 1024 * 1024
#: A series whose labels are more than this is read anew each time.
_LARGEST_KEY: Final = 8 * 1024
#: What a remembered series costs besides its labels.
_ENTRY_BYTES: Final = 200

Resolved = TypeVar("Resolved")
Labels = Sequence[tuple[bytes, bytes]]


class Format(StrEnum):
    """Which message a body holds: the value of `proto` in its content type."""

    V1 = "prometheus.WriteRequest"
    V2 = "io.prometheus.write.v2.Request"


@dataclass(frozen=True, slots=True)
class Labelled:
    """One series as its sender names it; `labels` sorted by name, without the metric's name."""

    metric: str
    labels: tuple[tuple[str, str], ...]
    unit: str = ""
    kind: SeriesKind = SeriesKind.GAUGE


@dataclass(slots=True)
class Written(Generic[Resolved]):
    """The samples of one body, those of series[0] first: counts[0] of them, then those of series[1], and so on.

    times: milliseconds since 1970, as sent. refused: samples left out, by reason.
    """

    series: list[Resolved] = field(default_factory=list)
    counts: array[int] = field(default_factory=lambda: array("q"))
    times: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))
    refused: Counter[str] = field(default_factory=Counter)
    histograms: int = 0
    exemplars: int = 0


@dataclass(frozen=True, slots=True)
class _Refused:
    """A series that is not taken."""

    reason: str


class Reader(Generic[Resolved]):
    """Reads one tenant's bodies; `resolve` makes of a series' labels what the caller stores it by.

    `resolve` is called once per series and remembered; it raises PayloadError for a series that is not taken.
    """

    def __init__(self, resolve: Callable[[Labelled], Resolved]) -> None:
        self._resolve = resolve
        self._known: dict[tuple[Any, ...], Resolved | _Refused] = {}
        self._bytes = 0

    def read(self, body: bytes, form: Format, *, max_bytes: int, max_samples: int) -> Written[Resolved]:
        """Decode a snappy-compressed body.

        Raises PayloadTooLarge: more than `max_bytes` when decompressed, or more than `max_samples`; PayloadError: no
        snappy block, or not this message.
        """
        message = MESSAGES[form]()
        try:
            message.ParseFromString(unpacked(body, max_bytes))
        except DecodeError as error:
            raise PayloadError(f"the body is no {form}") from error
        written: Written[Resolved] = Written()
        keys = _keys_v1(message) if form is Format.V1 else _keys_v2(message)
        for series, key, labelled in keys:
            samples = series.samples
            written.histograms += len(series.histograms)
            written.exemplars += len(series.exemplars)
            known = self._known.get(key)
            if known is None:
                known = self._learn(key, labelled)
            if len(written.times) + len(samples) > max_samples:
                raise PayloadTooLarge(f"the body has more than {max_samples} samples")
            if isinstance(known, _Refused):
                written.refused[known.reason] += len(samples)
            elif samples:
                written.series.append(known)
                written.counts.append(len(samples))
                for sample in samples:
                    written.times.append(sample.timestamp)
                    written.values.append(sample.value)
        return written

    def _learn(self, key: tuple[Any, ...], labelled: Callable[[], Labelled]) -> Resolved | _Refused:
        try:
            found: Resolved | _Refused = self._resolve(labelled())
        except PayloadError as error:
            found = _Refused(str(error))  # not the error itself: that holds on to the body
        size = _ENTRY_BYTES + sum(len(part) for part in key if isinstance(part, bytes))
        if size <= _LARGEST_KEY:
            if self._bytes + size > REMEMBERED_BYTES:
                self._known.clear()
                self._bytes = 0
            self._known[key] = found
            self._bytes += size
        return found


def unpacked(body: bytes, max_bytes: int) -> bytes:
    """A snappy block, decompressed. Its head tells its size, so that none is unpacked that is too large.

    Raises PayloadTooLarge; PayloadError: cut off, or no snappy block.
    """
    size = shift = 0
    for byte in body[:5]:
        size |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            break
    if size > max_bytes:
        raise PayloadTooLarge(f"the body is larger than {max_bytes} bytes when it is decompressed")
    try:
        return bytes(cramjam.snappy.decompress_raw(body))
    except cramjam.DecompressionError as error:
        raise PayloadError("the body is no snappy block, or is cut off") from error


def _keys_v1(message: Any) -> Iterator[tuple[Any, tuple[Any, ...], Callable[[], Labelled]]]:
    for series in message.timeseries:
        key = tuple(series.labels)
        yield series, key, partial(_labelled_v1, key)


def _labelled_v1(key: tuple[bytes, ...]) -> Labelled:
    return _labelled([_pair(label) for label in key])


def _pair(label: bytes) -> tuple[bytes, bytes]:
    try:
        told = _LABEL.FromString(label)
    except DecodeError as error:
        raise PayloadError("a label that is none") from error
    return told.name, told.value


def _keys_v2(message: Any) -> Iterator[tuple[Any, tuple[Any, ...], Callable[[], Labelled]]]:
    symbols: list[bytes] = list(message.symbols)
    if symbols and symbols[0] != b"":
        raise PayloadError("the first symbol must be empty")
    for series in message.timeseries:
        unit, kind = series.metadata.unit_ref, series.metadata.type
        try:
            key = (kind, symbols[unit] if unit else b"", *[symbols[at] for at in series.labels_refs])
        except IndexError as error:
            raise PayloadError("a label refers to a symbol that is not there") from error
        yield series, key, partial(_labelled_v2, key)


def _labelled_v2(key: tuple[Any, ...]) -> Labelled:
    kind, unit, *texts = key
    if len(texts) % 2:
        raise PayloadError("a label without a value")
    found = _labelled(list(zip(texts[::2], texts[1::2], strict=True)))
    known = _KINDS_V2.get(kind)
    return Labelled(found.metric, found.labels, _text(unit), known or found.kind)


def _labelled(pairs: Labels) -> Labelled:
    """Raises PayloadError: a series that breaks the specification, or is larger than we keep."""
    if len(pairs) > MAX_LABELS:
        raise PayloadError(f"a series with more than {MAX_LABELS} labels")
    labels = {_text(name): _text(value) for name, value in pairs}
    if len(labels) != len(pairs):
        raise PayloadError("a series with the same label twice")
    if "" in labels:
        raise PayloadError("a label without a name")
    metric = labels.pop(NAME, "")
    if not metric:
        raise PayloadError(f"a series without {NAME}")
    # An empty label is the same as none (Prometheus' data model).
    return Labelled(
        metric, tuple(sorted((name, value) for name, value in labels.items() if value)), kind=kind_of(metric)
    )


def _text(value: bytes) -> str:
    if len(value) > MAX_LABEL_BYTES:
        raise PayloadError(f"a label of more than {MAX_LABEL_BYTES} bytes")
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PayloadError("a label that is no UTF-8") from error
    if "\0" in text:
        raise PayloadError("a label with a zero character")
    return text


def milliseconds(moment: datetime) -> int:
    """A time as Prometheus counts it."""
    return (moment - EPOCH) // timedelta(milliseconds=1)


def from_milliseconds(milliseconds: int) -> datetime:
    """The time that Prometheus counts as so many milliseconds."""
    return EPOCH + timedelta(milliseconds=milliseconds)


def kind_of(metric: str) -> SeriesKind:
    """By the conventions of names: 1.0 sends no type with a series."""
    return SeriesKind.COUNTER if metric.endswith(("_total", "_count", "_sum", "_bucket")) else SeriesKind.GAUGE


# --- The messages. Labels of 1.0 stay bytes: as they are they serve as a key, and only those of a new series are read.
_FIELD = descriptor_pb2.FieldDescriptorProto
_FILE: Final = "tonewatch/remote_write.proto"
_PACKAGE: Final = "tonewatch.remote_write"
#: message -> field -> (number, type, repeated); a type in capitals is a scalar of protobuf.
_FIELDS: Final[dict[str, dict[str, tuple[int, str, bool]]]] = {
    "Label": {"name": (1, "BYTES", False), "value": (2, "BYTES", False)},
    "Sample": {"value": (1, "DOUBLE", False), "timestamp": (2, "INT64", False)},
    "SeriesV1": {
        "labels": (1, "BYTES", True),
        "samples": (2, "Sample", True),
        "exemplars": (3, "BYTES", True),
        "histograms": (4, "BYTES", True),
    },
    "RequestV1": {"timeseries": (1, "SeriesV1", True)},
    "Metadata": {"type": (1, "UINT32", False), "unit_ref": (4, "UINT32", False)},
    "SeriesV2": {
        "labels_refs": (1, "UINT32", True),
        "samples": (2, "Sample", True),
        "histograms": (3, "BYTES", True),
        "exemplars": (4, "BYTES", True),
        "metadata": (5, "Metadata", False),
    },
    "RequestV2": {"symbols": (4, "BYTES", True), "timeseries": (5, "SeriesV2", True)},
}
#: Types of a metric in 2.0 that are counters: COUNTER; histograms and summaries go by their names' endings.
_KINDS_V2: Final = {1: SeriesKind.COUNTER, 2: SeriesKind.GAUGE}


def _described() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name=_FILE, package=_PACKAGE, syntax="proto3")
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for field_name, (number, kind, repeated) in fields.items():
            label = _FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL
            described = message.field.add(name=field_name, number=number, label=label)
            if kind.isupper():
                described.type = _FIELD.Type.Value(f"TYPE_{kind}")
            else:
                described.type, described.type_name = _FIELD.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
    return file


def _classes() -> dict[str, Any]:
    pool = descriptor_pool.DescriptorPool()  # our own: other packages' messages may carry any name
    pool.Add(_described())
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _FIELDS}


_CLASSES: Final = _classes()
_LABEL: Final = _CLASSES["Label"]
#: By format; also for those who write bodies.
MESSAGES: Final = {Format.V1: _CLASSES["RequestV1"], Format.V2: _CLASSES["RequestV2"]}
