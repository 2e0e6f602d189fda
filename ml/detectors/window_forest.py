"""An isolation forest on window features of many series: the row itself, and the mean of the last ten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from ml.detectors.base import Floats
from ml.detectors.isolation_forest import ForestDetector
from ml.detectors.rows import RowDetector


class WindowForestDetector(RowDetector):
    """The forest of ml/detectors/isolation_forest.py; parts are the deviations, a forest has none of its own."""

    reach = 10
    #: Deviations are in standard deviations already: no feature needs a finer scale.
    floor: ClassVar[float] = 0.1

    def __init__(
        self, names: Sequence[str], floors: Sequence[float], *, recent: int = 0, trees: int = 100, seed: int = 0
    ) -> None:
        super().__init__(names, floors, recent=recent)
        self.trees, self.seed = trees, seed

    def learn(self, deviations: Floats) -> None:
        features = self._features(deviations)
        names = [f"{name}{kind}" for kind in ("", " lately") for name in self.names]
        forest = ForestDetector(names, [self.floor] * len(names), trees=self.trees, seed=self.seed)
        self.learned = {"forest": forest.fit(features)}

    def parts(self, deviations: Floats) -> Floats:
        return deviations

    def energy(self, deviations: Floats) -> Floats:
        forest: ForestDetector = self.learned["forest"]
        scores = np.minimum(forest.score(self._features(deviations)), 1 - 1e-12)
        return np.asarray(scores / (1 - scores))

    def _features(self, deviations: Floats) -> Floats:
        sums = np.cumsum(np.concatenate([np.zeros((1, deviations.shape[1])), deviations]), axis=0)
        ends = np.arange(1, len(deviations) + 1)
        begins = np.maximum(ends - self.reach, 0)
        return np.hstack([deviations, (sums[ends] - sums[begins]) / (ends - begins)[:, None]])
