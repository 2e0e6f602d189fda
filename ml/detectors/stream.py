"""What follows each series by itself, many at once: the samples of a round, the state of a batch, the followers.

A state is arrays with one row per series, of a size that no length of stream changes. A follower looks at what just
came and says which number of it is worth comparing with the past: the value itself, the step to it, a residual. What
is then strange about the number is for the ensemble to say (ml/ensemble.py).
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from tonewatch.errors import ModelError

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Array = npt.NDArray[Any]
#: Values of a series that followers can look back on.
RECENT = 16
#: A pause so many times longer than usual breaks a series: what lies before it is not "just before".
GAP = 10.0
#: Beyond this a float of single precision has no room for sums; such values count as this.
LARGEST = 1e30


@dataclass(frozen=True, slots=True)
class StreamState:
    """Arrays by name, each with one row per series. Whoever holds it owns it: scoring changes it in place."""

    arrays: Mapping[str, Array]

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    @property
    def bytes_per_series(self) -> int:
        """What a series takes."""
        return sum(array[:1].nbytes for array in self.arrays.values())

    def rows(self, which: slice) -> StreamState:
        """Some of the series: a view, so that what is scored on it is scored here."""
        return StreamState({name: array[which] for name, array in self.arrays.items()})

    def copy(self) -> StreamState:
        """One that scoring this one does not change."""
        return StreamState({name: array.copy() for name, array in self.arrays.items()})

    def snapshot(self, cursor: Mapping[str, Any]) -> bytes:
        """Everything, and how far the stream was read: JSON in one line, then the arrays' bytes."""
        head = {
            "cursor": cursor,
            "arrays": [[name, array.dtype.str, list(array.shape)] for name, array in self.arrays.items()],
        }
        body = b"".join(np.ascontiguousarray(array).tobytes() for array in self.arrays.values())
        return json.dumps(head).encode() + b"\n" + body

    @classmethod
    def restored(cls, snapshot: bytes) -> tuple[Self, dict[str, Any]]:
        """The state, bit for bit, and the cursor. Raises ModelError: that is no whole snapshot."""
        head, _, body = snapshot.partition(b"\n")
        try:
            told = json.loads(head)
            arrays, place = {}, 0
            for name, kind, shape in told["arrays"]:
                count = int(np.prod(shape))
                arrays[name] = np.frombuffer(body, np.dtype(kind), count, place).reshape(shape).copy()
                place += arrays[name].nbytes
            cursor = dict(told["cursor"])
        except (ValueError, KeyError, TypeError) as broken:
            raise ModelError(
                f"this is no whole snapshot of a stream's state ({broken}); begin() anew and replay the samples"
            ) from broken
        if place != len(body):
            raise ModelError(f"the snapshot holds {len(body)} bytes where {place} are told of; replay the samples")
        return cls(arrays), cursor


@dataclass(frozen=True, slots=True)
class Round:
    """One sample of each series, made ready. All (series,) but recent.

    value: NaN where there is nothing to judge; joined: whether it comes right after the one before; before: the value
    before; recent: (series, RECENT), the latest last, NaN where there are not so many since the last gap; time: epoch
    seconds.
    """

    time: Floats
    value: Floats
    joined: Flags
    before: Floats
    recent: npt.NDArray[np.float32]


class Follower(ABC):
    """One look at a series. name: what an explanation calls it."""

    name: str

    def begin(self, series: int) -> dict[str, Array]:
        """The arrays that it keeps, one row per series; their names start with its own. None where it keeps nothing."""
        return {}

    @abstractmethod
    def look(self, state: StreamState, now: Round) -> tuple[Floats, Floats]:
        """The number to compare with the past, and what to add to it to have it in the series' own unit.

        Both (series,); NaN where this look cannot judge. Learns from the round, in place.
        """


def begin(series: int, counters: Flags | None = None) -> dict[str, Array]:
    """What take() keeps of so many series. counters: which of them only grow until they are reset."""
    return {
        "counter": np.zeros(series, np.bool_) if counters is None else np.asarray(counters, np.bool_).copy(),
        "raw": np.full(series, np.nan),
        "last": np.full(series, np.nan),
        "time": np.full(series, np.nan),
        "pause": np.full(series, np.nan, np.float32),
        "recent": np.full((series, RECENT), np.nan, np.float32),
    }


def take(state: StreamState, times: Floats, values: Floats) -> Round:
    """The round that these samples are; learns times and values in place.

    times: epoch seconds, values: (series,) each; NaN or infinite: missing. A sample that is not later than the last of
    its series is none. Of a counter what is judged is its growth per second; a reset, and a start, has none.
    """
    arrays = state.arrays
    came = np.isfinite(values) & np.isfinite(times) & ~(times <= arrays["time"])
    pause = times - arrays["time"]
    usual = arrays["pause"]
    joined = came & (pause <= GAP * np.where(np.isnan(usual), pause, usual))
    value = np.clip(values, -LARGEST, LARGEST)
    if arrays["counter"].any():
        value = _growth(arrays, value, pause, joined)
    value = np.where(came, value, np.nan)
    judged = came & np.isfinite(value)
    joined &= judged & np.isfinite(arrays["last"])
    before = np.where(joined, arrays["last"], np.nan)
    _remember(arrays, value, judged, joined)
    # a pause's usual length moves slowly: a gap must not become what is usual
    longer = np.where(np.isnan(usual), pause, usual + 0.05 * (np.minimum(pause, 2 * usual) - usual))
    np.copyto(usual, longer, where=came & np.isfinite(pause), casting="same_kind")
    np.copyto(arrays["time"], times, where=came)
    return Round(times, value, joined, before, arrays["recent"])


def _growth(arrays: Mapping[str, Array], value: Floats, pause: Floats, joined: Flags) -> Floats:
    """Per second, of the counters among them."""
    grown = value - arrays["raw"]
    rate = np.where(joined & (grown >= 0), grown / np.where(pause > 0, pause, np.nan), np.nan)
    np.copyto(arrays["raw"], value, where=arrays["counter"] & np.isfinite(value))
    return np.where(arrays["counter"], rate, value)


def _remember(arrays: Mapping[str, Array], value: Floats, judged: Flags, joined: Flags) -> None:
    recent, broken = arrays["recent"], judged & ~joined
    if broken.any():
        recent[broken] = np.nan
    if judged.all():
        recent[:, :-1] = recent[:, 1:]
        recent[:, -1] = value
    else:
        recent[judged, :-1] = recent[judged, 1:]
        recent[judged, -1] = value[judged]
    np.copyto(arrays["last"], value, where=judged)
