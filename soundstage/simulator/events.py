"""Whole numbers around a mean (Poisson), each from one number of chance.

numpy's own takes more or less of its chance by the mean: a fault would change all that comes after it. So a simulation
with a fault and one without are the same but for the fault.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

Floats = npt.NDArray[np.float64]
#: From this mean on a normal number of the same mean and variance, rounded, is as good.
MANY = 30.0


def events(means: Floats, chance: Floats) -> Floats:
    """How many happen. means: 0 or more; chance: standard normal numbers of the same shape."""
    found = np.maximum(np.rint(means + np.sqrt(means) * chance), 0.0)
    few = means < MANY
    found[few] = _few(means[few], ndtr(chance[few]))
    return np.asarray(found, np.float64)


def _few(means: Floats, shares: Floats) -> Floats:
    """By the inverse of the distribution: the least number of which so large a share lies at or below it."""
    found = np.zeros(len(means))
    here = np.exp(-means)
    below = here.copy()
    left = np.flatnonzero(shares > below)
    number = 0
    while len(left) and number < 10 * MANY:  # the share can be 1 to the last digit
        number += 1
        here[left] *= means[left] / number
        below[left] += here[left]
        found[left] = number
        left = left[shares[left] > below[left]]
    return found
