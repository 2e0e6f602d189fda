"""The mean of the last few values: strange is a stretch that hardly leaves the usual range, but stays where none did."""

from __future__ import annotations

import numpy as np

from ml.detectors.stream import RECENT, Floats, Follower, Round, StreamState
from tonewatch.errors import ModelError


class RecentMean(Follower):
    """Looks at the mean of the last `width` values; cannot judge before there are so many after a gap."""

    def __init__(self, width: int = 4) -> None:
        if not 2 <= width <= RECENT:
            raise ModelError(f"a mean of {width} values; between 2 and {RECENT} can be looked back on")
        self.width = width
        self.name = f"mean of {width}"

    def look(self, state: StreamState, now: Round) -> tuple[Floats, Floats]:
        mean = now.recent[:, RECENT - self.width :].mean(axis=1, dtype=np.float64)
        return np.where(np.isnan(now.value), np.nan, mean), np.zeros(len(mean))
