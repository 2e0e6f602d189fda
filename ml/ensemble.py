"""The detectors' one voice on single series: several looks at each series, one score, one alarm per episode.

Each look's number is held against what the series is known to do (ml/detectors/memory.py). The strangeness is the
weighted mean of the square roots of their distances: two looks that are a little surprised say more than one alone,
and no single distance, however large, drowns the others. A score is reported when it exceeds all that were reported
of the last `quiet` samples: an episode is one alarm, and another only if it gets worse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ml.detectors import memory, stream
from ml.detectors.level import Level
from ml.detectors.memory import TINY
from ml.detectors.recent_mean import RecentMean
from ml.detectors.season import Season
from ml.detectors.step import Step
from ml.detectors.stream import Flags, Floats, Follower, StreamState
from tonewatch.errors import ModelError

#: Samples of a series before anything is said about it.
LEAST = 100
#: For so many samples after a report only what is stranger is reported.
QUIET = 100
#: Series that are scored together: their state fits a core's cache.
BLOCK = 2048


@dataclass(frozen=True, slots=True)
class Judged:
    """What was found of each series, all (series,).

    score: what is reported, in [0, 1), 0: nothing (new), NaN: cannot judge; strangeness: the same before repeats are
    left out; look: the place of the look that was most surprised, -1: none; expected, actual: by that look, in the
    series' unit, expected the nearest of what is known; since: epoch seconds of the episode's first report, NaN: none;
    value: what was judged or learned, of a counter its growth per second, NaN: nothing came.
    """

    score: Floats
    strangeness: Floats
    look: npt.NDArray[np.int8]
    expected: Floats
    actual: Floats
    since: Floats
    value: Floats


class Ensemble:
    """Several looks as one. All series of a state are scored in one call; what is missing in it is NaN.

    looks: each with its weight, above 0; the first must be one that tells the series' level.
    """

    def __init__(self, looks: Sequence[tuple[Follower, float]], *, quiet: int = QUIET, least: int = LEAST) -> None:
        if not looks or len({look.name for look, _ in looks}) != len(looks) or min(each for _, each in looks) <= 0:
            raise ModelError(
                "an ensemble needs at least one look, each under a name of its own and with a weight above 0"
            )
        self.looks = tuple(look for look, _ in looks)
        self.weights = np.array([weight for _, weight in looks], np.float32)
        self.quiet = quiet
        self.least = least

    def begin(self, series: int, counters: Flags | None = None) -> StreamState:
        """The state of so many series that nothing is known of. counters: (series,), which are counters."""
        if counters is not None and np.shape(counters) != (series,):
            raise ModelError(f"counters of shape {np.shape(counters)} for {series} series; say yes or no for each")
        arrays = stream.begin(series, counters) | memory.begin(series, len(self.looks))
        for look in self.looks:
            arrays |= look.begin(series)
        arrays["held"] = np.zeros(series, np.float32)
        arrays["age"] = np.zeros(series, np.int32)
        arrays["since"] = np.full(series, np.nan)
        return StreamState(arrays)

    def restored(self, snapshot: bytes) -> tuple[StreamState, dict[str, Any]]:
        """A state of this ensemble from its snapshot, and the cursor. Raises ModelError: it is another's, or broken."""
        state, cursor = StreamState.restored(snapshot)
        wanted = self.begin(1).arrays
        told = {name: (array.dtype, array.shape[1:]) for name, array in state.arrays.items()}
        if told != {name: (array.dtype, array.shape[1:]) for name, array in wanted.items()}:
            raise ModelError("the snapshot is of another ensemble; begin() anew and replay the samples")
        return state, cursor

    def score(self, state: StreamState, times: Floats, values: Floats) -> tuple[StreamState, Judged]:
        """Judge one sample of each series, then learn it: `state` is changed in place and handed back.

        times: epoch seconds, values: (series,) each, NaN: missing. Raises ModelError: other shapes than the state's.
        """
        if np.shape(times) != (len(state),) or np.shape(values) != (len(state),):
            raise ModelError(
                f"times of shape {np.shape(times)} and values of shape {np.shape(values)} for {len(state)} series; "
                "give one of each per series, NaN where there is none"
            )
        parts = [
            self._block(state.rows(which), times[which], values[which])
            for which in (slice(first, first + BLOCK) for first in range(0, len(state), BLOCK))
        ]
        fields = zip(
            *((p.score, p.strangeness, p.look, p.expected, p.actual, p.since, p.value) for p in parts), strict=True
        )
        return state, Judged(*(np.concatenate(field) for field in fields))

    def explain(self, judged: Judged, series: int) -> dict[str, Any]:
        """Why one series' sample was judged so: look, expected and actual by it, since when; empty: it was not."""
        if judged.look[series] < 0:
            return {}
        return {
            "look": self.looks[judged.look[series]].name,
            "expected": float(judged.expected[series]),
            "actual": float(judged.actual[series]),
            "strangeness": float(judged.strangeness[series]),
            "since": None if np.isnan(judged.since[series]) else float(judged.since[series]),
        }

    def _block(self, state: StreamState, times: Floats, values: Floats) -> Judged:
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):  # missing is NaN throughout, by intent
            now = stream.take(state, times, values)
            seen = [look.look(state, now) for look in self.looks]
            numbers = np.stack([number for number, _ in seen], axis=1).astype(np.float32)
            ready = state.arrays["seen"][:, 0] >= self.least
            distance, nearest = memory.novelty(state, numbers)
        surprise = np.sqrt(distance) * self.weights
        judged = ready & ~np.isnan(now.value)
        able = ~np.isnan(surprise)
        surprise = np.where(able, surprise, np.float32(0.0))
        mean = surprise.sum(axis=1) / np.maximum(able @ self.weights, TINY)
        strangeness = np.where(judged, mean / (1.0 + mean), np.nan)
        score, since = self._reported(state, now.time, strangeness)
        return self._told(seen, surprise, nearest, (score, strangeness, since, now.value))

    def _reported(self, state: StreamState, time: Floats, strangeness: Floats) -> tuple[Floats, Floats]:
        """Only what exceeds all reports of the last `quiet` samples; and since when the episode lasts."""
        held, age, began = (state.arrays[name] for name in ("held", "age", "since"))
        judged = ~np.isnan(strangeness)
        age += judged
        over = judged & (age > self.quiet)
        held[over], began[over] = 0.0, np.nan
        new = judged & (strangeness > held)
        np.copyto(held, strangeness, where=new, casting="same_kind")
        age[new] = 0
        np.copyto(began, time, where=new & np.isnan(began))
        return np.where(new, strangeness, np.where(judged, 0.0, np.nan)), began.copy()

    def _told(
        self,
        seen: Sequence[tuple[Floats, Floats]],
        surprise: npt.NDArray[np.float32],
        nearest: npt.NDArray[np.float32],
        found: tuple[Floats, Floats, Floats, Floats],
    ) -> Judged:
        score, strangeness, since, value = found
        most = surprise.argmax(axis=1)
        rows = np.arange(len(most))
        numbers = np.stack([number for number, _ in seen], axis=1)[rows, most]
        bases = np.stack([base for _, base in seen], axis=1)[rows, most]
        look = np.where(np.isnan(strangeness), -1, most).astype(np.int8)
        return Judged(score, strangeness, look, bases + nearest[rows, most], bases + numbers, since, value)


def default_ensemble() -> Ensemble:
    """The looks that earned their place by measurement (docs/results/nab.md)."""
    return Ensemble([(Level(), 1.0), (Step(), 1.0), (RecentMean(), 1.0), (Season(), 0.3)])
