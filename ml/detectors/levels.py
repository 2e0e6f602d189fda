"""How far values lie from what is normal for their series: from the trained level, or from where it settled lately.

A machine that got more load, or a counter that was reset, keeps another level for good. Seen from the trained level
alone it is strange for ever, and hides what happens next. So a value may be judged by the nearer of two levels: the
trained one, and the median of the last rows, which an event shorter than half of them can not move.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np

from ml.detectors.base import Floats
from tonewatch.errors import ModelError

#: A deviation counts at most so many standard deviations: one broken series is not all the strangeness there is.
CLIP = 20.0
#: Larger values are taken as this: their square still is a number.
LARGEST = 1e150
#: The recent level is taken from every so many-th row, and anew after so many rows.
SAMPLED, REFRESHED = 5, 60
#: The quartiles of a normal distribution lie so many standard deviations apart.
_QUARTILES = 1.349


class Levels:
    """The trained level and spread per series. floors: no spread is below; recent: rows that make a recent level.

    Rows are in order of time; missing values are filled with the trained median, where they say nothing.
    """

    def __init__(self, floors: Sequence[float], recent: int) -> None:
        if min(floors, default=0.0) <= 0 or not np.isfinite(floors).all():
            raise ModelError("each series needs a floor above 0, the smallest difference worth noticing")
        if recent < 0 or recent % REFRESHED:
            raise ModelError(f"the recent level takes a multiple of {REFRESHED} rows, or 0 for none; not {recent}")
        self.floors = np.asarray(floors, dtype=np.float64)
        self.recent = recent
        self.median: Floats = np.empty(0)
        self.mean: Floats = np.empty(0)
        self.spread: Floats = np.empty(0)

    def fit(self, rows: Floats) -> Self:
        """Learn from rows, (rows, series); a series that is missing throughout has level 0 and its floor as spread."""
        known = np.where(np.isfinite(rows), np.clip(rows, -LARGEST, LARGEST), np.nan)
        present = np.isfinite(known).any(axis=0)
        self.median = np.zeros(rows.shape[1])
        self.median[present] = np.nanmedian(known[:, present], axis=0)
        whole = self.filled(rows)
        self.mean = whole.mean(axis=0)
        self.spread = np.maximum(whole.std(axis=0), self.floors)
        return self

    def filled(self, rows: Floats) -> Floats:
        """The rows without what is missing or endless, (rows, series)."""
        return np.where(np.isfinite(rows), np.clip(rows, -LARGEST, LARGEST), self.median)

    def plain(self, rows: Floats) -> Floats:
        """Deviations of filled rows from the trained level, in its spread, (rows, series), clipped."""
        return np.clip((rows - self.mean) / self.spread, -CLIP, CLIP)

    def settled(self, rows: Floats, plain: Floats, start: int = 0) -> Floats:
        """Deviations of the rows from `start` on from the nearer level, trained or recent, (rows - start, series).

        Where fewer than `recent` rows went before, the trained level stands alone.
        """
        nearer = plain[start:].copy()
        if not self.recent:
            return nearer
        for begin in range(start, len(rows), REFRESHED):
            if begin < self.recent:
                continue
            lately = np.sort(rows[begin - self.recent : begin : SAMPLED], axis=0)
            quarter = len(lately) // 4
            spread = np.maximum((lately[-1 - quarter] - lately[quarter]) / _QUARTILES, self.spread)
            now = np.clip((rows[begin : begin + REFRESHED] - lately[len(lately) // 2]) / spread, -CLIP, CLIP)
            part = nearer[begin - start : begin - start + REFRESHED]
            np.copyto(part, now, where=np.abs(now) < np.abs(part))
        return nearer
