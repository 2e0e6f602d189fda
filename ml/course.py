"""The course of a platform: all its series together, each held against its own days and against what all of them do.

The ensemble (ml/ensemble.py) asks whether a series ever was so; this one whether it should be so now. What it says is
calm in the far tail: looks are means that no single reading can fill, season, holidays and growth are taken out, and
each series is measured by its own days. So few pages buy much (docs/results/budget.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ml.detectors import own_scale, straying, stream, usual_day
from ml.detectors.stream import Flags, Floats, StreamState
from tonewatch.errors import ModelError

#: A score is 1 - exp(-differences / this): the tail of what is calm is exponential in usual differences.
SCALED = 4.0
#: ... which a double cannot tell from 1 above this.
MOST = 36.0


@dataclass(frozen=True, slots=True)
class Strayed:
    """What was found of each series, all (series,).

    score: in [0, 1), 0: as on a usual day, NaN: cannot judge; look: the place in straying.LOOKS of the one that is
    farthest above it, -1: none; expected, actual: in the series' unit, NaN where there is none.
    """

    score: Floats
    look: npt.NDArray[np.int8]
    expected: Floats
    actual: Floats


class Course:
    """Follows platforms, their series side by side in one state. What is missing in a round is NaN."""

    def begin(
        self, series: int, counters: Flags | None = None, platforms: npt.NDArray[np.int64] | None = None
    ) -> StreamState:
        """The state of so many series that nothing is known of.

        counters: (series,), which are counters; platforms: (series,), from 0 on, which are seen together (None: all).
        Raises ModelError: other shapes.
        """
        for what, given in (("counters", counters), ("platforms", platforms)):
            if given is not None and np.shape(given) != (series,):
                raise ModelError(f"{what} of shape {np.shape(given)} for {series} series; give one for each")
        of = np.zeros(series, np.int64) if platforms is None else platforms
        parts = (stream.begin(series, counters), own_scale.begin(series), usual_day.begin(series, of))
        return StreamState(parts[0] | parts[1] | parts[2] | straying.begin(series))

    def restored(self, snapshot: bytes) -> tuple[StreamState, dict[str, Any]]:
        """A state from its snapshot, and the cursor. Raises ModelError: it is another detector's, or broken."""
        state, cursor = StreamState.restored(snapshot)
        wanted = self.begin(1).arrays
        told = {name: (array.dtype, array.shape[1:]) for name, array in state.arrays.items()}
        if told != {name: (array.dtype, array.shape[1:]) for name, array in wanted.items()}:
            raise ModelError("the snapshot is of another detector; begin() anew and replay the samples")
        return state, cursor

    def changed(self, state: StreamState, rows: Sequence[int]) -> None:
        """A release, or the like, of the part that tells these series: their levels may be elsewhere from now on.

        Forgiven is a little (straying.FORGIVEN), so that what it broke is seen.
        """
        straying.changed(state.arrays, np.asarray(rows, np.int64))

    def score(self, state: StreamState, times: Floats, values: Floats) -> tuple[StreamState, Strayed]:
        """Judge one sample of each series, then learn it: `state` is changed in place and handed back.

        times: epoch seconds, values: (series,) each, NaN: missing. Raises ModelError: other shapes than the state's.
        """
        if np.shape(times) != (len(state),) or np.shape(values) != (len(state),):
            raise ModelError(
                f"times of shape {np.shape(times)} and values of shape {np.shape(values)} for {len(state)} series; "
                "give one of each per series, NaN where there is none"
            )
        arrays = state.arrays
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):  # missing is NaN throughout, by intent
            now = stream.take(state, times, values)
            placed = own_scale.place(arrays, now)
            pause = np.nan_to_num(arrays["pause"].astype(np.float64))
            expected = usual_day.expected(arrays, now.time, placed, straying.spread(arrays), pause)
            day = np.where(np.isnan(placed), -1, np.nan_to_num(now.time) // usual_day.DAY_S).astype(np.int32)
            left = straying.Left(placed - expected, now.joined, now.joined & (now.value == now.before), pause, day)
            above = straying.strays(arrays, left)
            told = own_scale.value(arrays, expected + straying.level(arrays))
        return state, _strayed(above, told, now.value)

    def explain(self, strayed: Strayed, series: int) -> dict[str, Any]:
        """Why one series' sample was judged so: by which look, expected and actual; empty: it was not."""
        if strayed.look[series] < 0:
            return {}
        return {
            "look": straying.LOOKS[strayed.look[series]],
            "expected": float(strayed.expected[series]),
            "actual": float(strayed.actual[series]),
            "score": float(strayed.score[series]),
        }


def _strayed(above: Floats, expected: Floats, actual: Floats) -> Strayed:
    judged = np.asarray(~np.isnan(above).any(axis=1))
    most = np.where(judged[:, None], above, 0.0).argmax(axis=1)
    highest = above[np.arange(len(above)), most]
    score = -np.expm1(-np.clip(highest / SCALED, 0.0, MOST))
    look = np.where(judged, most, -1).astype(np.int8)
    return Strayed(score, look, np.where(judged, expected, np.nan), np.where(judged, actual, np.nan))
