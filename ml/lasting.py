"""Reports of single series that wait until it is known whether what they told lasts: ml.episodes.confirmed, online.

The place where a statistic of the run is computed as the samples come. State: a row per report that waits, no more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ml.ensemble import Judged
from ml.episodes import HALFWAY

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
#: A report whose series has gone silent is settled so many rounds late: its last sample may still be under way.
SETTLE = 1
#: A report: the row of its series, the round and time (epoch seconds) in which it was told, what it told, and how much
#: of the way from what was expected the values since have kept: the sum, and of how many.
REPORT = np.dtype(
    [
        *(("row", np.int64), ("round", np.int64), ("time", np.float64), ("look", np.int64)),
        *(("score", np.float64), ("expected", np.float64), ("actual", np.float64)),
        *(("kept", np.float64), ("count", np.int64)),
    ]
)
Reports = npt.NDArray[Any]


class Lasting:
    """Holds back the reports until they are confirmed, `run` rounds after each was told; others are dropped."""

    def __init__(self, run: int) -> None:
        self.run = run
        self.waiting: Reports = np.empty(0, REPORT)

    def step(self, number: int, times: Floats, judged: Judged) -> Reports:
        """Take in a round; the reports that are confirmed with it, in the order of their series.

        number: of the round, never lower than before; times: epoch seconds of each series' sample, (series,).
        """
        self._follow(number, judged.value)
        rows = np.flatnonzero(np.nan_to_num(judged.score) > 0)
        if len(rows):
            told = np.zeros(len(rows), REPORT)
            told["row"], told["round"], told["time"] = rows, number, times[rows]
            for name in ("look", "score", "expected", "actual"):
                told[name] = getattr(judged, name)[rows]
            self.waiting = np.concatenate([self.waiting, told])
        due = self._due(number, judged.value)
        if not due.any():
            return np.empty(0, REPORT)
        settled, self.waiting = self.waiting[due], self.waiting[~due]
        kept = settled["kept"] / np.maximum(settled["count"], 1)
        return np.sort(settled[(kept >= HALFWAY) | (self.run == 1)], order=["row", "round"])

    def forget(self, rows: npt.NDArray[np.int64]) -> None:
        """Drop what waits of these series: their rows are another's now."""
        self.waiting = self.waiting[~np.isin(self.waiting["row"], rows)]

    def _follow(self, number: int, values: Floats) -> None:
        """How much of its way each report's series keeps in this round."""
        waiting = self.waiting
        within = waiting["round"] + self.run > number
        gone = kept_way(values[waiting["row"]], waiting["expected"], waiting["actual"])
        there = within & np.isfinite(gone)
        waiting["kept"] += np.where(there, gone, 0.0)
        waiting["count"] += there

    def _due(self, number: int, values: Floats) -> Flags:
        waiting, last = self.waiting, self.waiting["round"] + self.run - 1
        came = np.isfinite(values[waiting["row"]])
        return np.asarray((came & (number >= last)) | (number > last + SETTLE))


def kept_way(values: Floats, expected: Floats, actual: Floats) -> Floats:
    """How much of the way from what was expected to what came the values keep: 0 to 1, NaN where there is no value."""
    with np.errstate(invalid="ignore", divide="ignore"):
        way: Floats = np.clip((values - expected) / (actual - expected), 0.0, 1.0)
    return way
