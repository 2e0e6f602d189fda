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
