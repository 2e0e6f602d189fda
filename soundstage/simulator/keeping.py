"""Writes a recording (docs/recordings.md). The product reads and writes by code of its own: they share a format."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from soundstage.errors import WishError

FORMAT, VERSION = "tonewatch-recording", 1
MANIFEST = "manifest.json"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: A fixed date of the files in a chunk: the same content gives the same bytes.
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)
Floats = npt.NDArray[np.float64]
Indexes = npt.NDArray[np.int64]


def canonical(document: object) -> bytes:
    """JSON in the one way in which it is hashed."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def lines(documents: Iterable[object]) -> bytes:
    """A canonical JSON document per line."""
    return b"".join(canonical(document) + b"\n" for document in documents)


class Keeper:
    """A recording that is being written: texts, then chunks in the order of time, then `close`."""

    def __init__(self, folder: Path, series: list[dict[str, Any]]) -> None:
        """Raises WishError: the folder holds something, or cannot be written."""
        self._folder, self._series = folder, series
        self._texts: dict[str, bytes] = {}
        self._digests = [(_blake(), _blake()) for _ in series]
        self._chunks: list[dict[str, Any]] = []
        try:
            (folder / "samples").mkdir(parents=True, exist_ok=True)
            if [path.name for path in folder.iterdir()] != ["samples"] or any((folder / "samples").iterdir()):
                raise WishError(f"{folder} is not empty: name a new folder")
        except OSError as error:
            raise WishError(f"{folder} cannot be written ({error.strerror}): name another") from error

    @property
    def samples(self) -> int:
        """How many were written."""
        return sum(int(chunk["samples"]) for chunk in self._chunks)

    def text(self, name: str, content: bytes) -> None:
        """Write one of the files beside the samples."""
        self._write(name, content)
        self._texts[name] = content

    def chunk(self, times: Indexes, values: Floats) -> None:
        """Write the next readings. times: (steps,) microseconds since 1970; values: (steps, series), NaN for none."""
        by_series = np.ascontiguousarray(values.T)
        there = ~np.isnan(by_series)
        counts = there.sum(axis=1)
        bounds = np.concatenate([[0], np.cumsum(counts)])
        if not bounds[-1]:
            return
        told = np.broadcast_to(times, by_series.shape)[there].astype("<i8")
        kept = by_series[there].astype("<f8")
        for number in np.flatnonzero(counts).tolist():
            part = slice(int(bounds[number]), int(bounds[number + 1]))
            self._digests[number][0].update(told[part].data)
            self._digests[number][1].update(kept[part].data)
        name = f"samples/{len(self._chunks):06d}.npz"
        arrays = {"series": np.flatnonzero(counts).astype("<i4"), "counts": counts[counts > 0].astype("<i4")}
        try:
            _write_arrays(self._folder / name, {**arrays, "times": told, "values": kept})
        except OSError as error:
            raise WishError(f"{self._folder} cannot be written ({error.strerror}): name another") from error
        stretch = {"first": int(told.min()), "last": int(told.max())}
        self._chunks.append({"file": name, "samples": int(bounds[-1]), **stretch})

    def close(self, start: datetime, end: datetime, every_s: float, about: str, counts: dict[str, int]) -> str:
        """Write series and manifest; the hash of the content. A folder without a manifest is not whole."""
        # A watcher that reads so rarely looks back on five readings.
        watched = {"scrape_seconds": every_s, "probe_seconds": every_s, "tick_seconds": every_s}
        watched = {name: float(value) for name, value in {**watched, "window_seconds": 5 * every_s}.items()}
        self._write("series.json", json.dumps(self._series, indent=0, ensure_ascii=False).encode() + b"\n")
        stretch: dict[str, Any] = {
            "start": _microseconds(start),
            "end": _microseconds(end),
            "every_seconds": float(every_s),
        }
        stretch |= {"watched": watched}
        whole = _blake()
        whole.update(canonical([FORMAT, VERSION, stretch]) + b"\n")
        for name, content in sorted(self._texts.items()):
            whole.update(canonical([name, hashlib.blake2b(content, digest_size=32).hexdigest()]) + b"\n")
        for named, (times, values) in zip(self._series, self._digests, strict=True):
            whole.update(canonical([named, times.hexdigest(), values.hexdigest()]) + b"\n")
        digest = whole.hexdigest()
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "made_by": "soundstage.simulator",
            "about": about,
            "start": start.isoformat(),
            "end": end.isoformat(),
            "every_seconds": float(every_s),
            "watched": watched,
            "counts": {"series": len(self._series), "samples": self.samples, **counts},
            "hash": digest,
            "chunks": self._chunks,
        }
        self._write(MANIFEST, json.dumps(manifest, indent=1).encode() + b"\n")
        return digest

    def _write(self, name: str, content: bytes) -> None:
        try:
            (self._folder / name).write_bytes(content)
        except OSError as error:
            raise WishError(f"{self._folder / name} cannot be written ({error.strerror})") from error


def _blake() -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=32)


def _microseconds(time: datetime) -> int:
    return (time - EPOCH) // timedelta(microseconds=1)


def _write_arrays(path: Path, arrays: dict[str, npt.NDArray[Any]]) -> None:
    """An .npz; what repeats is deflated, values are stored: deflating noise takes seconds and saves nothing."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy", _ZIP_DATE)
            entry.compress_type = zipfile.ZIP_STORED if name == "values" else zipfile.ZIP_DEFLATED
            with archive.open(entry, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
