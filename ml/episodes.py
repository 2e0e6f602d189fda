"""From scores to what was wrong, and how long: the stretches of time that a detector's scores make of one threshold.

The same arithmetic as in ml/calibration.py counts there how often incidents would open; here it says when.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml.calibration import debounced

Floats = npt.NDArray[np.float64]
#: What is told lasts if the values keep so much of the way from what was expected.
HALFWAY = 0.5


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch in which one row is strange, in windows.

    first: the first of the run that opened it; met: the run's last, with which it may be told; until: the last at which
    it holds.
    """

    row: int
    first: int
    met: int
    until: int


def spans(scores: Floats, thresholds: Sequence[float] | Floats, *, run: int = 1, hold: int = 0) -> Iterator[Span]:
    """The stretches in which rows score above their thresholds, row by row, in the order of time.

    scores: (rows, windows), NaN: not judged, which breaks a run; thresholds: (rows,); run: so many windows in a row
    above begin a stretch; hold: windows for which it holds on after the last such run, so that a detector that tells
    only what is new is one stretch per episode.
    """
    above = debounced(np.asarray(scores), run) > np.asarray(thresholds)[:, None]
    for row in np.flatnonzero(above.any(axis=1)):
        ends = np.flatnonzero(above[row]) + run - 1
        cuts = np.flatnonzero(np.diff(ends) > hold + 1) + 1
        for part in np.split(ends, cuts):
            yield Span(int(row), int(part[0]) - run + 1, int(part[0]), int(part[-1]) + hold)


def confirmed(scores: Floats, expected: Floats, actual: Floats, values: Floats, run: int) -> Floats:
    """Scores that count only if what was told lasted: each at the window with which that is known, (rows, windows).

    A detector that learns at once what it has told calls the second strange value known, so no run of high scores can
    tell a lasting change from a single outlier. The values can: in the `run` windows from the told one on they must on
    the average keep half of the way from `expected` to `actual`. All (rows, windows); scores: 0: nothing told, NaN: not
    judged; values: NaN where there is none. The result is later by run - 1 windows; 0 where nothing was confirmed.
    """
    found = np.where(np.isnan(scores), np.nan, 0.0)
    rows, places = np.nonzero(np.nan_to_num(scores) > 0)
    kept = places + run <= scores.shape[1]
    rows, places = rows[kept], places[kept]
    if run == 1 or not len(rows):
        found[rows, places] = scores[rows, places]
        return found
    way = actual[rows, places] - expected[rows, places]
    following = values[rows[:, None], places[:, None] + np.arange(1, run)]
    with np.errstate(invalid="ignore", divide="ignore"):
        gone = np.clip((following - expected[rows, places][:, None]) / way[:, None], 0.0, 1.0)
    there = np.isfinite(gone)
    mean = np.where(there, gone, 0.0).sum(axis=1) / np.maximum(there.sum(axis=1), 1)
    rows, places = rows[mean >= HALFWAY], places[mean >= HALFWAY]
    found[rows, places + run - 1] = scores[rows, places]
    return found
