"""Writes recordings, and says what their content hashes to (docs/recordings.md).

The hash is over the content: two recordings of the same content have the same, however they are cut and deflated.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tonewatch.clock import microseconds
from tonewatch.errors import RecordingError
from tonewatch.records import Sample, Series

FORMAT, VERSION = "tonewatch-recording", 1
MANIFEST, SERIES = "manifest.json", "series.json"
BEACONS, CHANGES, ENTITIES = "beacons.cmcd", "changes.jsonl", "entities.jsonl"
INVENTORY, SESSIONS = "inventory.json", "sessions.jsonl"
#: The files beside the samples that belong to the content, where they are there.
TEXTS = (BEACONS, CHANGES, ENTITIES, INVENTORY, SESSIONS)

Indexes = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Samples in columns of equal length, by series, then time.

    series: the number of each sample's series in `Recording.series`; times: microseconds since 1970; values: any bits.
    """

    series: Indexes
    times: Indexes
    values: Floats


class Keeper:
    """A recording that is being written: texts and chunks, then `close`. Without a manifest a folder is not whole."""

    def __init__(self, folder: Path, series: Iterable[Series]) -> None:
        """Raises RecordingError: the folder holds something already, or cannot be written."""
        self._folder = folder
        named = {series_key(each): each for each in series}
        self.series: tuple[Series, ...] = tuple(named[key] for key in sorted(named))
        self._numbers = {key: number for number, key in enumerate(sorted(named))}
        self._texts: dict[str, bytes] = {}
        self._digests = Digests(len(self.series))
        self._chunks: list[dict[str, Any]] = []
        self._counts: dict[str, int] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if any(folder.iterdir()):
                raise RecordingError(f"{folder} is not empty: name a new folder")
            (folder / "samples").mkdir()
        except OSError as error:
            raise RecordingError(f"{folder} cannot be written ({error.strerror}): name another") from error

    @property
    def samples(self) -> int:
        """How many were written."""
        return sum(chunk["samples"] for chunk in self._chunks)

    def lines(self, name: str, documents: Iterable[object]) -> None:
        """Write one of the files of JSON lines beside the samples."""
        content = [canonical(document) + b"\n" for document in documents]
        self._counts[name.partition(".")[0]] = len(content)
        self._texts[name] = b"".join(content)
        self._write(name, self._texts[name])

    def chunk(self, samples: Sequence[Sample]) -> None:
        """Write samples in any order, all later than those of the chunk before; of equal series and time the last.

        Raises RecordingError: one is of no series that was named in the beginning, or not later than the chunk before.
        """
        if not samples:
            return
        try:
            numbers = np.array([self._numbers[series_key(sample.series)] for sample in samples], np.int64)
        except KeyError as error:
            raise RecordingError(f"a sample is of a series that was not named: {error}") from error
        times = np.fromiter((microseconds(sample.time) for sample in samples), "<i8", len(samples))
        values = np.fromiter((sample.value for sample in samples), "<f8", len(samples))
        order = np.lexsort((times, numbers))  # equal keys stay in the order in which they came
        columns = Columns(numbers[order], times[order], values[order])
        last = np.append((np.diff(columns.series) != 0) | (np.diff(columns.times) != 0), True)
        self.columns(Columns(columns.series[last], columns.times[last], columns.values[last]))

    def columns(self, columns: Columns) -> None:
        """The same for samples that are columns already, by series, then time, each once."""
        first, end = int(columns.times.min()), int(columns.times.max())
        if self._chunks and first <= self._chunks[-1]["last"]:
            raise RecordingError("a chunk's samples must all be later than those of the chunk before")
        self._digests.add(columns)
        numbers, counts = np.unique(columns.series, return_counts=True)
        name = f"samples/{len(self._chunks):06d}.npz"
        arrays = {"series": numbers.astype("<i4"), "counts": counts.astype("<i4"), "times": columns.times}
        try:
            _write_arrays(self._folder / name, {**arrays, "values": columns.values})
        except OSError as error:
            raise RecordingError(f"{self._folder / name} cannot be written ({error.strerror})") from error
        self._chunks.append({"file": name, "samples": len(columns.times), "first": first, "last": end})

    def close(
        self, start: datetime, end: datetime, every_s: float, watched: Mapping[str, float], about: str, made_by: str
    ) -> str:
        """Write series and manifest; the hash of the content.

        every_s: between two readings; watched: the keys of the tenant's profile that rules look at.
        """
        named = [series_document(each) for each in self.series]
        self._write(SERIES, json.dumps(named, indent=0, ensure_ascii=False).encode() + b"\n")
        digest = self._digests.whole(start, end, every_s, watched, self._texts, self.series)
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "made_by": made_by,
            "about": about,
            "start": start.astimezone(UTC).isoformat(),
            "end": end.astimezone(UTC).isoformat(),
            "every_seconds": every_s,
            "watched": dict(watched),
            "counts": {"series": len(self.series), "samples": self.samples, **self._counts},
            "hash": digest,
            "chunks": self._chunks,
        }
        self._write(MANIFEST, json.dumps(manifest, indent=1).encode() + b"\n")
        return digest

    def _write(self, name: str, content: bytes) -> None:
        try:
            (self._folder / name).write_bytes(content)
        except OSError as error:
            raise RecordingError(f"{self._folder / name} cannot be written ({error.strerror})") from error


def _write_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """A deflated .npz whose bytes follow from its content alone."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(entry, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


class Digests:
    """The hash of a recording's content, as its chunks come: each series' times and values by themselves."""

    def __init__(self, series: int) -> None:
        self._held = [(_blake(), _blake()) for _ in range(series)]

    def add(self, columns: Columns) -> None:
        """Take in a chunk; those of one series come in the order of time."""
        bounds = np.flatnonzero(np.diff(columns.series)) + 1
        edges = [0, *bounds.tolist(), len(columns.series)]
        times, values = columns.times.astype("<i8", copy=False), columns.values.astype("<f8", copy=False)
        for begin, end in pairwise(edges):
            if begin < end:
                of_times, of_values = self._held[int(columns.series[begin])]
                of_times.update(times[begin:end].tobytes())
                of_values.update(values[begin:end].tobytes())

    def whole(
        self,
        start: datetime,
        end: datetime,
        every_s: float,
        watched: Mapping[str, float],
        texts: Mapping[str, bytes],
        series: Iterable[Series],
    ) -> str:
        """The hash: 64 hex digits of BLAKE2b."""
        found = _blake()
        stretch = {"start": microseconds(start), "end": microseconds(end), "every_seconds": every_s}
        found.update(canonical([FORMAT, VERSION, {**stretch, "watched": dict(watched)}]) + b"\n")
        for name in sorted(texts):
            found.update(canonical([name, hashlib.blake2b(texts[name], digest_size=32).hexdigest()]) + b"\n")
        for each, (times, values) in zip(series, self._held, strict=True):
            found.update(canonical([series_document(each), times.hexdigest(), values.hexdigest()]) + b"\n")
        return found.hexdigest()


def canonical(document: object) -> bytes:
    """JSON in the one way in which it is hashed."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def series_key(series: Series) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    """By this the series of a recording are in order."""
    return series.entity, series.metric, series.labels


def series_document(series: Series) -> dict[str, Any]:
    """A series as series.json names it."""
    return {
        "entity": series.entity,
        "metric": series.metric,
        "labels": [list(pair) for pair in series.labels],
        "unit": series.unit,
        "kind": series.kind.value,
    }


def _blake() -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=32)
