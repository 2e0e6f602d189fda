"""The audience's calendar: its day, its week, its holidays, and how it grows. All in the logarithm of its size."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
DAY_S, HOUR_S = 86_400.0, 3_600.0
YEAR_S = 365.25 * DAY_S
#: One day in so many is a holiday.
HOLIDAYS_EVERY = 36
#: A day goes over into the next within so many seconds, so that no midnight is a step.
DAWN_S = 3 * HOUR_S
HOLIDAY_LESS = 0.15
#: The hour of a further evening peak, and how sharp it is.
EVENING, EVENING_SHARPNESS = 21.0, 8.0


class Calendar:
    """The season at any second since the start of a simulation."""

    def __init__(
        self,
        start: datetime,
        days: float,
        growth: float,
        chance: np.random.Generator,
        evening: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        """evening: how high a peak each evening has besides, from so many days after the first midnight on."""
        midnight = start.replace(hour=0, minute=0, second=0, microsecond=0)
        self._offset_s = (start - midnight).total_seconds()
        self._weekday = start.weekday()
        self._growth = float(np.log1p(growth))
        self._evening, self._evening_from = evening
        count = int(days) + 3
        #: Numbers of the days, from the first on, that are holidays.
        self.holidays: Collection[int] = frozenset(np.flatnonzero(chance.random(count) < 1 / HOLIDAYS_EVERY).tolist())

    def season(self, seconds: Floats) -> Floats:
        """How far the audience lies above its usual size, as a logarithm, at these seconds since the start."""
        at = seconds + self._offset_s
        day, within = np.divmod(at, DAY_S)
        hour = within / HOUR_S
        today, yesterday = self._idle(day), self._idle(day - 1)
        share = np.minimum(within / DAWN_S, 1.0)
        idle = yesterday + share * (today - yesterday)
        free = np.minimum(idle, 1.0)
        more = np.where(day >= self._evening_from, self._evening, 0.0)
        course = (1 - free) * _WORKING(hour, more) + free * _FREE(hour, more)
        return np.asarray(course - HOLIDAY_LESS * np.maximum(idle - 1.0, 0.0))

    def growth(self, seconds: Floats) -> Floats:
        """How much the audience has grown since the start, as a logarithm."""
        return self._growth * seconds / YEAR_S

    def _idle(self, days: Floats) -> Floats:
        """0 for a working day, 1 for one of a weekend, 2 for a holiday."""
        weekend = ((days + self._weekday) % 7 >= 5).astype(np.float64)
        return np.where(np.isin(days, list(self.holidays)), 2.0, weekend)


class _Day:
    """The course of a day: peaks (hour, height, sharpness) over a quiet night; the mean of its logarithm is 0."""

    def __init__(self, *peaks: tuple[float, float, float], less: float = 0.0) -> None:
        self._peaks, self._less = peaks, less
        self._mean = float(self._raw(np.arange(0.0, 24.0, 0.05)).mean())

    def __call__(self, hour: Floats, evening: Floats) -> Floats:
        """evening: how high a peak comes at EVENING besides; it makes that hour busier and no other quieter."""
        return self._raw(hour, evening) - self._mean - self._less

    def _raw(self, hour: Floats, evening: Floats | float = 0.0) -> Floats:
        heights = [
            height * np.exp(sharpness * (np.cos((hour - peak) * np.pi / 12) - 1))
            for peak, height, sharpness in (*self._peaks, (EVENING, evening, EVENING_SHARPNESS))
        ]
        return np.asarray(np.log(0.15 + sum(heights)), np.float64)


_WORKING = _Day((8.0, 0.9, 4.0), (13.0, 0.6, 1.5), (18.0, 0.7, 4.0))
_FREE = _Day((11.5, 1.0, 1.8), (19.5, 0.4, 3.0), less=0.12)
