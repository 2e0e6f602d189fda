"""What every detector can do. Scores lie in [0, 1], higher is stranger; a threshold belongs to its calibration."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self

import numpy as np
import numpy.typing as npt

from tonewatch.errors import ModelError

Floats = npt.NDArray[np.float64]
#: The largest share of features that may be missing in a row that is scored.
MISSING_ALLOWED = 0.5


class Detector(ABC):
    """Learns what rows of features look like in calm times and says how strange others are.

    names: the columns, in order. version: of the model, set by the registry; empty before it is registered.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.version = ""

    @abstractmethod
    def fit(self, rows: Floats) -> Self:
        """Learn from calm rows, shape (rows, features). Raises ModelError: too few usable rows, or other columns."""

    @abstractmethod
    def score(self, rows: Floats) -> Floats:
        """Strangeness of each row, shape (rows,), in [0, 1]. Raises ModelError: see `refuse_unusable`."""

    @abstractmethod
    def explain(self, row: Floats) -> dict[str, float]:
        """How far each feature lies from the calm ones, signed, in robust standard deviations; the farthest first.

        Features that the row lacks are left out.
        """

    @abstractmethod
    def distances(self, rows: Floats) -> Floats:
        """What explain() tells of each row, shape (rows, features), in the order of the columns; NaN: it lacks it.

        Raises ModelError: see `refuse_unusable`.
        """

    def usable(self, rows: Floats) -> npt.NDArray[np.bool_]:
        """Which rows hold enough features to be scored: at most half may be missing."""
        self._check_shape(rows)
        return np.asarray(np.mean(~np.isfinite(rows), axis=1) <= MISSING_ALLOWED)

    def refuse_unusable(self, rows: Floats) -> None:
        """Raise ModelError if a row has other columns than the model, or too few values."""
        refused = int(np.sum(~self.usable(rows)))
        if refused:
            raise ModelError(
                f"{refused} of {len(rows)} rows lack more than half of their features; leave out those that "
                "usable() refuses: missing telemetry is a finding of its own, not an anomaly"
            )

    def _check_shape(self, rows: Floats) -> None:
        if rows.ndim != 2 or rows.shape[1] != len(self.names):
            raise ModelError(f"rows of shape {rows.shape} do not fit the model's {len(self.names)} features")
