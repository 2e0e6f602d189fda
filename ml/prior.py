"""What a family lends a series that has just begun: what those of its siblings that are most like it are known to do.

Without it a new series is silent for as long as it takes to know it (`Ensemble.least`), and after that every value that
all its siblings have been through is news of it. What is lent is marked as met before anything of its own, so that it
is the first to go once the series has a past.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ml.detectors.memory import KNOWN
from ml.detectors.stream import Floats, StreamState

Rows = npt.NDArray[np.int64]
#: Siblings that lend: the nearest by level, of those that are judged.
SIBLINGS = 8
#: Numbers that are lent of each look: half of the memory is left for the series' own.
LENT = KNOWN // 2
#: Samples of its own that a series has before it is judged, where its family has lent.
PROBATION = 10


def lend(state: StreamState, row: int, siblings: Rows, least: int) -> bool:
    """Let the series of `row`, which has had its first value, begin where its siblings are; in place.

    siblings: rows of its family that are judged, from `least` samples on. False: nobody lends.
    """
    arrays = state.arrays
    if not len(siblings) or arrays["seen"][row, 0] == 0:
        return False
    far = np.abs(arrays["centre"][siblings, 0].astype(np.float64) - float(arrays["centre"][row, 0]))
    lenders = siblings[np.argsort(far, kind="stable")[:SIBLINGS]]
    for look in range(arrays["centre"].shape[1]):
        _lend_look(state, row, lenders, look)
    arrays["seen"][row] = np.where(arrays["seen"][lenders].max(axis=0) > 0, max(least - PROBATION, 1), 0)
    return True


def _lend_look(state: StreamState, row: int, lenders: Rows, look: int) -> None:
    arrays = state.arrays
    lenders = lenders[arrays["seen"][lenders, look] > 0]
    if not len(lenders):
        return
    centre = arrays["centre"][lenders, look]
    below = np.median(centre - arrays["low"][lenders, look])
    above = np.median(arrays["high"][lenders, look] - centre)
    if arrays["seen"][row, look] == 0:  # this look has nothing of the series' own yet
        arrays["centre"][row, look] = np.median(centre)
    arrays["low"][row, look] = arrays["centre"][row, look] - below
    arrays["high"][row, look] = arrays["centre"][row, look] + above
    own = arrays["known"][row, look]
    numbers = np.union1d(own[np.isfinite(own)], _spread_out(arrays["known"][lenders, look]))[:KNOWN]
    arrays["known"][row, look] = np.inf
    arrays["known"][row, look, : len(numbers)] = numbers
    arrays["used"][row, look] = -1
    arrays["used"][row, look, : len(numbers)] = 0


def _spread_out(known: Floats) -> Floats:
    """So many of the known numbers as are lent, from the lowest to the highest."""
    pooled = np.sort(known[np.isfinite(known)])
    if len(pooled) <= LENT:
        return pooled
    places: Floats = pooled[np.linspace(0, len(pooled) - 1, LENT).round().astype(np.intp)]
    return places
