"""Recordings: a stretch of telemetry in a folder, read by path (docs/recordings.md). Whoever only reads needs no stack.

The hash is over the content: two recordings of the same content have the same, however they are cut and deflated.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from tonewatch.clock import EPOCH, MICROSECOND, microseconds
from tonewatch.errors import RecordingError
from tonewatch.keeping import (
    BEACONS,
    CHANGES,
    ENTITIES,
    FORMAT,
    MANIFEST,
    SERIES,
    SESSIONS,
    TEXTS,
    VERSION,
    Columns,
    Digests,
    Floats,
    Indexes,
    series_key,
)
from tonewatch.records import Change, Entity, Sample, Series, SeriesKind, SessionReport

Made = TypeVar("Made")
_CHUNK_NAME = re.compile(r"samples/[0-9]{6,}\.npz")


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Samples on even steps. times: (steps,) microseconds since 1970; values: (steps, series), NaN where none came."""

    series: tuple[Series, ...]
    times: Indexes
    values: Floats


@dataclass(frozen=True, slots=True)
class Chunk:
    """A file of samples; first, last: microseconds since 1970 of its earliest and its latest."""

    file: str
    samples: int
    first: int
    last: int


@dataclass(frozen=True)
class Recording:
    """A stretch of telemetry; `open_recording` opens one.

    hash: as its manifest tells it; `verify` sees whether it is so. every_s: seconds between two readings; watched:
    what of the tenant's profile rules look at, by name.
    """

    folder: Path
    start: datetime
    end: datetime
    every_s: float
    hash: str
    about: str
    counts: Mapping[str, int]
    watched: Mapping[str, float]
    series: tuple[Series, ...] = field(repr=False)
    chunks: tuple[Chunk, ...] = field(repr=False)

    @cached_property
    def entities(self) -> tuple[Entity, ...]:
        """The platform's parts as they were at the end. Raises RecordingError: the file is damaged."""
        return tuple(_made(ENTITIES, partial(_entity, told)) for told in self._documents(ENTITIES))

    @cached_property
    def changes(self) -> tuple[Change, ...]:
        """What was announced. Raises RecordingError: the file is damaged."""
        return tuple(_made(CHANGES, partial(_change, told)) for told in self._documents(CHANGES))

    @cached_property
    def sessions(self) -> tuple[SessionReport, ...]:
        """What players reported, as the warehouse kept it. Raises RecordingError: the file is damaged."""
        return tuple(_made(SESSIONS, partial(_report, told)) for told in self._documents(SESSIONS))

    @cached_property
    def beacons(self) -> tuple[str, ...]:
        """What players sent, as the gateway takes it; none in a recording from a warehouse."""
        return tuple(self._text(BEACONS).decode("ascii", "replace").splitlines())

    def columns(self) -> Iterator[Columns]:
        """The samples, chunk by chunk, in the order of time. Raises RecordingError: a chunk is damaged or not there."""
        for chunk in self.chunks:
            yield self._columns(chunk)

    def grid(self, every_s: float | None = None, start: datetime | None = None, end: datetime | None = None) -> Grid:
        """All samples of start <= time < end on steps of `every_s` (as they were read) from `start` (the beginning) on.

        A sample stands at the nearest step, of several the latest. Raises RecordingError as `columns`, and for steps
        that would need more than 64 GiB.
        """
        step = round((every_s or self.every_s) * 1e6)
        begin, until = microseconds(start or self.start), microseconds(end or self.end)
        steps = max(0, -(-(until - begin) // step))
        if steps * len(self.series) * 8 > 2**36:
            raise RecordingError(f"{steps} steps of {len(self.series)} series are too many at once: ask for a part")
        values = np.full((steps, len(self.series)), np.nan)
        for chunk in self.chunks:
            if chunk.last < begin or chunk.first >= until:
                continue
            found = self._columns(chunk)
            place = (found.times - begin + step // 2) // step
            inside = (found.times >= begin) & (found.times < until) & (place < steps)
            values[place[inside], found.series[inside]] = found.values[inside]
        return Grid(self.series, begin + step * np.arange(steps, dtype=np.int64), values)

    def samples(self, start: datetime | None = None, end: datetime | None = None) -> Iterator[Sample]:
        """The samples of start <= time < end in the order of time, then series. Raises RecordingError as `columns`."""
        begin, until = microseconds(start or self.start), microseconds(end or self.end)
        for chunk in self.chunks:
            if chunk.last < begin or chunk.first >= until:
                continue
            found = self._columns(chunk)
            inside = np.flatnonzero((found.times >= begin) & (found.times < until))
            order = inside[np.lexsort((found.series[inside], found.times[inside]))]
            known: dict[int, datetime] = {}
            for number, time, value in zip(
                found.series[order].tolist(), found.times[order].tolist(), found.values[order].tolist(), strict=True
            ):
                moment = known.get(time)
                if moment is None:
                    moment = known[time] = EPOCH + time * MICROSECOND
                yield Sample(self.series[number], moment, value)

    def verify(self) -> str:
        """Read all of it; the hash of the content. Raises RecordingError: it is not the one that the manifest tells."""
        digests = Digests(len(self.series))
        for columns in self.columns():
            digests.add(columns)
        texts = {name: self._text(name) for name in TEXTS if (self.folder / name).exists()}
        found = digests.whole(self.start, self.end, self.every_s, self.watched, texts, self.series)
        if found != self.hash:
            raise RecordingError(
                f"{self.folder} is damaged or was changed: its content hashes to {found}, not {self.hash}"
            )
        return found

    def _columns(self, chunk: Chunk) -> Columns:
        path = self.folder / chunk.file
        try:
            with np.load(path, allow_pickle=False) as held:
                numbers, counts, times, values = (held[name] for name in ("series", "counts", "times", "values"))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise RecordingError(f"{path} cannot be read: {error}") from error
        kinds = [array.dtype.str for array in (numbers, counts, times, values)]
        fits = (
            kinds == ["<i4", "<i4", "<i8", "<f8"]
            and all(array.ndim == 1 for array in (numbers, counts, times, values))
            and len(numbers) == len(counts)
            and len(times) == len(values) == chunk.samples == int(counts.sum())
            and (not len(numbers) or (numbers[0] >= 0 and numbers[-1] < len(self.series) and counts.min() > 0))
            and bool((np.diff(numbers) > 0).all())
            and (not len(times) or (times.min() == chunk.first and times.max() == chunk.last))
            and _in_order(np.repeat(numbers, counts), times)
        )
        if not fits:
            raise RecordingError(f"{path} is damaged: its columns do not fit one another")
        return Columns(np.repeat(numbers.astype(np.int64), counts), times, values)

    def _text(self, name: str) -> bytes:
        return _bytes(self.folder / name) if (self.folder / name).exists() else b""

    def _documents(self, name: str) -> Iterator[dict[str, Any]]:
        for number, line in enumerate(self._text(name).splitlines(), 1):
            told = _json(line, f"{self.folder / name}, line {number}")
            if not isinstance(told, dict):
                raise RecordingError(f"{self.folder / name}, line {number}: is no JSON object")
            yield told


def open_recording(folder: Path) -> Recording:
    """Read what a recording is; its samples are read when they are asked for.

    Raises RecordingError: there is none, it is not whole, or it is of a version that is not understood.
    """
    if not (folder / MANIFEST).is_file():
        raise RecordingError(f"{folder} is no recording, or was not written to its end: it has no {MANIFEST}")
    told = _json(_bytes(folder / MANIFEST), str(folder / MANIFEST))
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        raise RecordingError(f"{folder / MANIFEST} is no recording's")
    if told.get("version") != VERSION:
        raise RecordingError(f"{folder} is of version {told.get('version')}; this Tonewatch reads version {VERSION}")
    names = _json(_bytes(folder / SERIES), str(folder / SERIES))
    try:
        series = tuple(_series(each) for each in names)
        chunks = tuple(
            Chunk(str(c["file"]), int(c["samples"]), int(c["first"]), int(c["last"])) for c in told["chunks"]
        )
        found = Recording(
            folder,
            datetime.fromisoformat(told["start"]),
            datetime.fromisoformat(told["end"]),
            float(told["every_seconds"]),
            str(told["hash"]),
            str(told.get("about", "")),
            {name: int(count) for name, count in told["counts"].items()},
            {name: float(value) for name, value in told.get("watched", {}).items()},
            series,
            chunks,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RecordingError(f"{folder} is damaged: its manifest or series lack what they need: {error!r}") from error
    _check(found)
    return found


def _check(found: Recording) -> None:
    keys = [series_key(series) for series in found.series]
    if any(one >= other for one, other in pairwise(keys)):
        raise RecordingError(f"{found.folder / SERIES} is damaged: its series are not in order, or one is told twice")
    if found.start.tzinfo is None or found.end.tzinfo is None or found.end < found.start or not found.every_s > 0:
        raise RecordingError(
            f"{found.folder / MANIFEST} is damaged: start, end or every_seconds make no stretch of time"
        )
    if any(one.last >= other.first for one, other in pairwise(found.chunks)):
        raise RecordingError(f"{found.folder / MANIFEST} is damaged: its chunks do not follow one another in time")
    strange = [chunk.file for chunk in found.chunks if not _CHUNK_NAME.fullmatch(chunk.file)]
    if strange:
        raise RecordingError(f"{found.folder / MANIFEST} is damaged: {strange[0]!r} is no file of samples")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RecordingError(f"{path} cannot be read ({error.strerror})") from error


def _json(content: bytes, where: str) -> Any:
    try:
        return json.loads(content)
    except ValueError as error:
        raise RecordingError(f"{where}: is no JSON: {error}") from error


def _series(told: Mapping[str, Any]) -> Series:
    labels = tuple((str(name), str(value)) for name, value in told["labels"])
    return Series(str(told["entity"]), str(told["metric"]), labels, str(told["unit"]), SeriesKind(told["kind"]))


def _in_order(series: Indexes, times: Indexes) -> bool:
    """Whether each series' times go up."""
    return bool(((np.diff(times) > 0) | (np.diff(series) != 0)).all())


def _made(name: str, make: Callable[[], Made]) -> Made:
    try:
        return make()
    except (KeyError, TypeError, ValueError) as error:
        raise RecordingError(f"{name} is damaged: {error!r}") from error


def _timed(told: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {**told, **{name: datetime.fromisoformat(told[name]) for name in names if told[name] is not None}}


def _entity(told: Mapping[str, Any]) -> Entity:
    lists = {name: tuple(told[name]) for name in ("feeds", "depends_on")}
    return Entity(**{**told, **lists})


def _change(told: Mapping[str, Any]) -> Change:
    return Change(**_timed(told, "started", "ended"))


def _report(told: Mapping[str, Any]) -> SessionReport:
    return SessionReport(**_timed(told, "time"))
