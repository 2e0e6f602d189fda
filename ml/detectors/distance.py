"""Distance from the normal level: the mean over the series of a power of the clipped deviation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ml.detectors.base import Floats
from ml.detectors.rows import RowDetector


class DistanceDetector(RowDetector):
    """power 1 is the mean of the clipped |z|; the square gives more to few series that are far off."""

    def __init__(self, names: Sequence[str], floors: Sequence[float], *, recent: int = 0, power: float = 2.0) -> None:
        super().__init__(names, floors, recent=recent)
        self.power = power

    def learn(self, deviations: Floats) -> None:
        self.learned = {"power": self.power}

    def parts(self, deviations: Floats) -> Floats:
        return deviations

    def energy(self, deviations: Floats) -> Floats:
        return np.asarray(np.mean(np.abs(deviations) ** self.learned["power"], axis=1))
