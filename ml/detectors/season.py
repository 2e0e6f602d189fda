"""The daily profile: strange is a value that is usual at another time of day, as a night's silence at noon.

The profile is robust: once a time of day was met a few times, a residual moves it by no more than is usual of
residuals, so that a fault does not become the expectation. Where a series has no daily season the profile is its slow
level, and the look is one at the deviation from that.
"""

from __future__ import annotations

import numpy as np

from ml.detectors.stream import Array, Floats, Follower, Round, StreamState

DAY_SECONDS = 86400.0
#: How fast a time of day's expectation follows, and how many usual residuals a value may move it by.
RATE, USUAL = 0.2, 3.0
#: Times that a time of day is met before its residuals are held to be outliers; and how slowly the usual one changes.
MET, SLOW, EARLY = 4, 0.002, 100


class Season(Follower):
    """Looks at the residual from the expectation for the time of day (UTC); cannot judge a time that it never met."""

    name = "season"

    def __init__(self, bins: int = 48) -> None:
        self.bins = bins

    def begin(self, series: int) -> dict[str, Array]:
        return {
            "season profile": np.full((series, self.bins), np.nan, np.float32),
            "season met": np.zeros((series, self.bins), np.uint8),
            "season usual": np.zeros(series, np.float32),
            "season judged": np.zeros(series, np.int32),
        }

    def look(self, state: StreamState, now: Round) -> tuple[Floats, Floats]:
        profile, met = state.arrays["season profile"], state.arrays["season met"]
        came = np.flatnonzero(~np.isnan(now.value))
        time = (now.time[came] / DAY_SECONDS % 1.0 * self.bins).astype(np.intp) % self.bins
        value, expected = now.value[came], profile[came, time].astype(np.float64)
        known, times = ~np.isnan(expected), met[came, time]
        residual = value - expected
        limit = USUAL * state.arrays["season usual"][came]
        moved = np.where(times < MET, residual, np.clip(residual, -limit, limit))
        share = np.maximum(RATE, 1.0 / (times + 1.0))
        profile[came, time] = np.where(known, expected + share * moved, value)
        met[came, time] = np.minimum(times, 254) + 1
        self._usual(state, came[known], np.abs(residual[known]))
        number, base = np.full(len(now.value), np.nan), np.full(len(now.value), np.nan)
        number[came], base[came] = residual, expected
        return number, base

    def _usual(self, state: StreamState, rows: Array, residual: Floats) -> None:
        """The mean size of residuals, where none counts for more than four of it."""
        usual, judged = state.arrays["season usual"], state.arrays["season judged"]
        judged[rows] += 1
        before = usual[rows].astype(np.float64)
        bounded = np.where(judged[rows] > EARLY, np.minimum(residual, 4.0 * before), residual)
        usual[rows] = before + np.maximum(1.0 / judged[rows], SLOW) * (bounded - before)
