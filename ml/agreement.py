"""How far people agree on what incidents were: Krippendorff's alpha for two values, with a bootstrap interval.

Alpha takes authors who judged different incidents, and few of them each (Krippendorff 2011, Computing Krippendorff's
Alpha-Reliability): 1 is agreement, 0 what chance gives, below 0 people contradict one another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
RESAMPLES = 400


@dataclass(frozen=True, slots=True)
class Agreement:
    """alpha, with its 95 % interval (low, high); of so many incidents that two authors or more judged.

    None: too few incidents, or all say one and the same, so that nothing tells agreement from habit.
    """

    alpha: float | None
    low: float | None
    high: float | None
    incidents: int


def agreement(judged: Mapping[str, Sequence[bool]], *, seed: int = 0) -> Agreement:
    """Of what was said of each incident, one value per author. The same seed gives the same interval.

    >>> agreement({"i1": [True, True], "i2": [False, False], "i3": [True]}).alpha
    1.0
    """
    shared = [values for _, values in sorted(judged.items()) if len(values) >= 2]
    counts = np.array([[sum(values), len(values) - sum(values)] for values in shared], np.float64).reshape(-1, 2)
    alpha = _alpha(counts)
    if alpha is None:
        return Agreement(None, None, None, len(shared))
    chance = np.random.default_rng(seed)
    drawn = [_alpha(counts[chance.integers(0, len(counts), len(counts))]) for _ in range(RESAMPLES)]
    known = [each for each in drawn if each is not None] or [alpha]
    low, high = np.quantile(known, [0.025, 0.975])
    return Agreement(alpha, float(low), float(high), len(shared))


def _alpha(counts: Floats) -> float | None:
    """Of (incidents, 2) counts of what was said; None where one value alone was said, or nothing twice."""
    of_value, whole = counts.sum(axis=0), float(counts.sum())
    if whole < 2 or not of_value.all():
        return None
    per_incident = counts.sum(axis=1)
    disagreed = float((2 * counts[:, 0] * counts[:, 1] / (per_incident - 1)).sum())
    expected = float(2 * of_value[0] * of_value[1] / (whole - 1))
    return 1.0 - disagreed / expected
