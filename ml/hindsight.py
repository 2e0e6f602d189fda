"""What people's verdicts make of a threshold: false alarms raise it, what was real keeps it down."""

from __future__ import annotations

from collections.abc import Sequence


def eased(threshold: float, set_by_training: float, false_alarms: Sequence[float], real: Sequence[float]) -> float:
    """The threshold at which the false alarms, by their scores, would not have been told, and all that was real would.

    Where both overlap the real ones win. It never leaves more than half of the way from the trained threshold to 1, the
    highest score there is: beyond that a single verdict could blind the model, and it is to be trained again. Never
    below `threshold`.
    """
    lowest_real = min(real, default=1.0)
    # A score must be above the threshold to be told.
    kept = max((score for score in false_alarms if score < lowest_real), default=threshold)
    furthest = 1.0 - (1.0 - set_by_training) / 2
    return max(threshold, min(kept, furthest))
