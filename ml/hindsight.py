"""What people's verdicts make of a threshold, and of the calm that a model learns from.

False alarms raise a threshold, what was real keeps it down; and what was real is no calm.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
#: How far verdicts move a threshold at most, of the way from the trained one to 1, the highest score there is: beyond
#: that the model is to be trained again.
MOST = 0.5
#: The same for what one person alone says: he may err, or mean harm.
ALONE = 0.25
#: What surrounds a real incident is no calm either: it begins before it is told, and ends with a jump back.
BEFORE_SECONDS, AFTER_SECONDS = 600.0, 3600.0
#: No more than this share of a stretch is ever left out: a model must not be taught by what is left of almost nothing.
MOST_LEFT_OUT = 0.5


def eased(
    threshold: float,
    set_by_training: float,
    false_alarms: Sequence[float],
    real: Sequence[float],
    most: float = MOST,
) -> float:
    """The threshold at which the false alarms, by their scores, would not have been told, and all that was real would.

    Where both overlap the real ones win. It never leaves more than `most` of the way from the trained threshold to 1:
    beyond that a single verdict could blind the model. Never below `threshold`.
    """
    lowest_real = min(real, default=1.0)
    # A score must be above the threshold to be told.
    kept = max((score for score in false_alarms if score < lowest_real), default=threshold)
    furthest = 1.0 - (1.0 - set_by_training) * (1.0 - most)
    return max(threshold, min(kept, furthest))


def pattern(false_alarms: Sequence[float]) -> list[float]:
    """The scores of false alarms without the highest: one may be an error that two people share, two are a pattern.

    >>> pattern([0.7, 0.9, 0.8])
    [0.7, 0.8]
    """
    return sorted(false_alarms)[:-1]


def uncalm(times: Sequence[float] | Floats, incidents: Iterable[tuple[float, float]]) -> Flags:
    """Which of the times, in seconds, ascending, belong to a real incident, its surroundings included: (times,).

    incidents: (onset, end) of each. Nothing is left out if that would be more than MOST_LEFT_OUT.
    """
    moments = np.asarray(times, np.float64)
    found = np.zeros(len(moments), np.bool_)
    for onset, end in incidents:
        first, until = np.searchsorted(moments, [onset - BEFORE_SECONDS, end + AFTER_SECONDS])
        found[first:until] = True
    return found if found.sum() <= MOST_LEFT_OUT * len(found) else np.zeros_like(found)
