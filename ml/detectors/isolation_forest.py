"""Isolation Forest (Liu, Ting, Zhou: Isolation Forest, ICDM 2008) on robustly scaled features, with an envelope.

A forest does not extrapolate: ten times the largest value seen scores like the largest, and one feature alone hardly
moves it. So the score grows further by how far a row leaves the envelope of the training rows; inside the envelope it
is the forest's score and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import IsolationForest
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import RobustScaler

from ml.detectors.base import Floats
from ml.detectors.family import FamilyDetector, Strands
from tonewatch.errors import ModelError

#: Fewer rows than this say nothing about what is normal.
LEAST_ROWS = 20
#: A feature's envelope is never narrower than this many robust standard deviations.
NARROWEST = 3.0
#: Rows that each tree sees, as in the paper.
SAMPLES = 256


class ForestDetector(FamilyDetector):
    """An isolation forest per component family.

    floors: per feature, the smallest difference worth noticing: its scale is never below, so that a feature that was
    constant in training neither explodes nor is ignored. samples: rows that each tree sees at most; narrowest: an
    envelope, in robust standard deviations. imputed: values that the last call of score() had to fill in
    with the training median.
    """

    kind = "isolation-forest"

    def __init__(
        self,
        names: Sequence[str],
        floors: Sequence[float],
        *,
        trees: int = 100,
        samples: int = SAMPLES,
        narrowest: float = NARROWEST,
        seed: int = 0,
    ) -> None:
        super().__init__(names)
        if len(floors) != len(self.names) or min(floors, default=0.0) <= 0:
            raise ModelError("each feature needs a floor above 0")
        self.floors = tuple(float(floor) for floor in floors)
        self.trees, self.samples, self.narrowest = trees, samples, narrowest
        self.seed = seed
        self.limits: Floats = np.full(len(self.names), narrowest)
        self.imputed = 0
        self.pipeline: Pipeline | None = None
        self._leaves: tuple[IsolationForest, list[tuple[Any, Floats]]] | None = None

    @classmethod
    def restored(
        cls, pipeline: Pipeline, names: Sequence[str], floors: Sequence[float], limits: Sequence[float], version: str
    ) -> Self:
        """A fitted detector from its parts, as the registry keeps them."""
        detector = cls(names, floors)
        detector.pipeline = pipeline
        detector.limits = np.asarray(limits, dtype=np.float64)
        detector.version = version
        return detector

    def fit(self, rows: Floats) -> Self:
        kept = rows[self.usable(rows)]
        if len(kept) < LEAST_ROWS:
            raise ModelError(f"{len(kept)} usable rows of calm telemetry; at least {LEAST_ROWS} are needed to learn")
        impute = SimpleImputer(strategy="median", keep_empty_features=True).fit(kept)
        scale = RobustScaler(unit_variance=True).fit(impute.transform(kept))
        scale.scale_ = np.maximum(_spread(kept), self.floors)
        distances = scale.transform(impute.transform(kept))
        # contamination is unused: thresholds come from ml/calibration.py
        forest = IsolationForest(
            n_estimators=self.trees,
            max_samples=min(self.samples, len(kept)),
            contamination="auto",
            random_state=self.seed,
        ).fit(distances)
        self.limits = np.maximum(np.abs(distances).max(axis=0), self.narrowest)
        self.pipeline = Pipeline([("impute", impute), ("scale", scale), ("forest", forest)])
        return self

    def score(self, rows: Floats) -> Floats:
        self.refuse_unusable(rows)
        self.imputed = int(np.sum(~np.isfinite(rows)))
        if len(rows) == 0:
            return np.empty(0)
        return self._strangeness(self._distances(rows))

    def explain(self, row: Floats) -> dict[str, float]:
        distances = self.distances(np.atleast_2d(row))[0]
        present = [index for index in range(len(self.names)) if not np.isnan(distances[index])]
        present.sort(key=lambda index: -abs(distances[index]))
        return {self.names[index]: float(distances[index]) for index in present}

    def distances(self, rows: Floats) -> Floats:
        self.refuse_unusable(rows)
        if len(rows) == 0:
            return np.empty(rows.shape)
        return np.where(np.isfinite(rows), self._distances(rows), np.nan)

    def teach(self, parts: Sequence[Strands]) -> Self:
        return self.fit(np.vstack([part.values[part.judged] for part in parts]))

    def strangeness(self, strands: Floats) -> Floats:
        rows = strands.reshape(-1, len(self.names))
        usable = self.usable(rows)
        scores = np.full(len(rows), np.nan)
        scores[usable] = self.score(rows[usable])
        return scores.reshape(strands.shape[:2])

    def typical(self) -> tuple[Floats, Floats]:
        scale = self._fitted()["scale"]
        return np.asarray(scale.center_), np.asarray(scale.scale_)

    def _strangeness(self, distances: Floats) -> Floats:
        forest = np.clip(self._isolated(distances), 0.0, 1.0)
        beyond = np.maximum(np.max(np.abs(distances) / self.limits, axis=1), 1.0)
        scores: Floats = 1.0 - (1.0 - forest) / beyond
        return scores

    def _isolated(self, distances: Floats) -> Floats:
        """What the forest's `score_samples` gives, with the other sign and bit for bit, for rows that are checked.

        That one sets up a pool of threads and checks each tree for each call: for the few windows of a tick, most of
        the time it takes.
        """
        forest = self._fitted()[-1]
        if self._leaves is None or self._leaves[0] is not forest:
            self._leaves = (forest, _leaves(forest))
        rows = np.ascontiguousarray(distances, np.float32)
        depths = np.zeros(len(rows))
        for tree, lengths in self._leaves[1]:
            depths += lengths[tree.apply(rows)]
        return np.asarray(2.0 ** -(depths / _usual_depth(forest)))

    def _distances(self, rows: Floats) -> Floats:
        finite = np.where(np.isfinite(rows), rows, np.nan)
        distances: Floats = self._fitted()[:-1].transform(finite)
        return distances

    def _fitted(self) -> Pipeline:
        if self.pipeline is None:
            raise ModelError("the detector has learned nothing yet; call fit() first")
        return self.pipeline


def _leaves(forest: IsolationForest) -> list[tuple[Any, Floats]]:
    """Each tree, and by node how deep what ends there lies: the way to it, and what its rows would still need."""
    return [
        (each.tree_, each.tree_.compute_node_depths() + _still(each.tree_.n_node_samples) - 1.0)
        for each in forest.estimators_
    ]


def _still(rows: npt.NDArray[np.int64]) -> Floats:
    """The mean depth at which one of so many rows is isolated (equation 1 of the paper)."""
    counts = np.maximum(rows, 2).astype(np.float64)
    usual = 2.0 * (np.log(counts - 1.0) + np.euler_gamma) - 2.0 * (counts - 1.0) / counts
    return np.where(rows <= 1, 0.0, np.where(rows == 2, 1.0, usual))


def _usual_depth(forest: IsolationForest) -> float:
    return float(len(forest.estimators_) * _still(np.array([forest.max_samples_]))[0])


def _spread(rows: Floats) -> Floats:
    """Per feature 1.4826 times the median absolute deviation, equal to the standard deviation for normal data."""
    spread = np.zeros(rows.shape[1])
    for column in range(rows.shape[1]):
        values = rows[np.isfinite(rows[:, column]), column]
        if len(values):
            spread[column] = 1.4826 * np.median(np.abs(values - np.median(values)))
    return spread
