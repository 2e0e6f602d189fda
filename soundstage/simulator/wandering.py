"""Noise with a memory: AR(1) of variance 1, one per column, normal or heavy-tailed, going on from block to block."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class Wandering:
    """Columns of noise. What comes does not depend on how many steps are drawn at once."""

    def __init__(self, coefficients: Floats, tails: Floats, seed: list[int]) -> None:
        """coefficients: of each column, from 0 to below 1; tails: degrees of freedom (above 2), 0 for normal."""
        self._normal = np.random.default_rng([*seed, 0])
        self._heavy = np.random.default_rng([*seed, 1])
        self._coefficients = coefficients
        self._strength = np.sqrt(1 - coefficients**2)
        self._heavy_columns = np.flatnonzero(tails)
        self._tails = tails[self._heavy_columns]
        self._state = np.random.default_rng([*seed, 2]).standard_normal(len(coefficients))

    def draw(self, steps: int) -> Floats:
        """The next steps: (steps, columns)."""
        found = self._normal.standard_normal((steps, len(self._coefficients)))
        if len(self._heavy_columns):
            drawn = self._heavy.standard_t(self._tails, (steps, len(self._tails)))
            found[:, self._heavy_columns] = drawn / np.sqrt(self._tails / (self._tails - 2))
        found *= self._strength
        state = self._state
        for row in found:  # each step needs the one before; all columns at once
            row += self._coefficients * state
            state = row
        self._state = state.copy()
        return found


def coefficients(memory_s: Floats, every_s: float) -> Floats:
    """The coefficient with which noise that forgets after so many seconds is read every so many."""
    return np.asarray(np.exp(-every_s / memory_s), np.float64)
