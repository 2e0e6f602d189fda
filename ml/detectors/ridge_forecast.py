"""What a linear forecast from the rows before did not expect: one ridge regression for all series of a machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from ml.detectors.base import Floats
from ml.detectors.levels import CLIP, REFRESHED
from ml.detectors.rows import RowDetector
from tonewatch.errors import ModelError

#: Training rows and what is forecast from are cut here, in standard deviations: an event must not be learned, and one
#: that has begun must not be expected to go on as it is.
FORECAST_CLIP = 5.0
#: Weight of the penalty, in rows.
PENALTY = 100.0
#: A residual's own spread is never below this, in standard deviations of its series.
NARROWEST = 0.1


class RidgeForecastDetector(RowDetector):
    """lags: how many rows before the row it is forecast from. scaled: parts in the residuals' own calm spread.

    Unscaled, what is far off counts; scaled, what is well predictable and for once is not.
    """

    def __init__(
        self,
        names: Sequence[str],
        floors: Sequence[float],
        *,
        recent: int = 0,
        lags: Sequence[int] = (10, 20, 30),
        scaled: bool = False,
    ) -> None:
        super().__init__(names, floors, recent=recent)
        if not lags or min(lags) < 1:
            raise ModelError(f"a row is forecast from rows at least 1 before it, not {tuple(lags)}")
        self.lags, self.scaled = tuple(lags), scaled
        self.reach = _reach(lags, recent)

    def learn(self, deviations: Floats) -> None:
        calm = np.clip(deviations, -FORECAST_CLIP, FORECAST_CLIP)
        known = _lagged(calm, self.lags)
        weights = np.linalg.solve(known.T @ known + PENALTY * np.eye(known.shape[1]), known.T @ calm)
        spread = np.maximum(np.std(deviations - known @ weights, axis=0), NARROWEST)
        self.learned = {
            "lags": self.lags,
            "weights": weights,
            "spread": spread if self.scaled else np.ones(len(spread)),
        }

    def parts(self, deviations: Floats) -> Floats:
        calm = np.clip(deviations, -FORECAST_CLIP, FORECAST_CLIP)
        expected = _lagged(calm, self.learned["lags"]) @ self.learned["weights"]
        residuals: Floats = np.clip((deviations - expected) / self.learned["spread"], -CLIP, CLIP)
        return residuals

    @classmethod
    def restored(cls, kept: Mapping[str, Any]) -> Self:
        detector = super().restored(kept)
        detector.reach = _reach(detector.learned["lags"], detector.levels.recent)
        return detector


def _reach(lags: Sequence[int], recent: int) -> int:
    """The farthest lag; rounded up where there is a recent level, so that pieces keep to its hours."""
    return -(-max(lags) // REFRESHED) * REFRESHED if recent else max(lags)


def _lagged(rows: Floats, lags: Sequence[int]) -> Floats:
    """The rows `lags` before each row side by side, and a one; the first row stands for those before it."""
    parts = [np.concatenate([rows[:1].repeat(min(lag, len(rows)), axis=0), rows[:-lag]]) for lag in lags]
    return np.hstack([*parts, np.ones((len(rows), 1))])
