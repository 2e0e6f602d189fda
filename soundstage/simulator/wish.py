"""What is to be simulated. The same wish gives the same files, byte by byte."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from soundstage.errors import WishError

FEWEST_SERIES, MOST_SERIES = 10, 10_000
LONGEST_DAYS = 3_660.0
SHORTEST_S, LONGEST_S = 1.0, 3_600.0
#: A Monday, so that a week of the simulation is a week of the calendar.
START = datetime(2026, 1, 5, tzinfo=UTC)
DAY_S = 86_400.0
#: Calibration's days: no fault falls into them, unless the whole is shorter than twice as long.
CALM_DAYS = 28.0


@dataclass(frozen=True, slots=True)
class Wish:
    """A platform of `series` lines, read every `every_s` seconds for `days` days from `start` on.

    faults: names of the catalogue; faults_from: a folder of further ones; per_week: how many faults a week holds;
    calm_days: none falls into so many first days (None: 28, at most half); growth: of the audience, a year;
    players: how many of the listeners report by beacon; steady: neither releases nor planned work nor restarts;
    evening: from day `evening_from` on, each day has so high a peak at nine in the evening besides its own, which are
    about 1 high: the shape of the traffic changes for good.
    """

    series: int = 100
    days: float = 1.0
    every_s: float = 60.0
    seed: int = 1
    start: datetime = START
    faults: tuple[str, ...] = ()
    faults_from: Path | None = None
    per_week: float = 5.0
    calm_days: float | None = None
    growth: float = 0.2
    players: int = 10
    steady: bool = False
    evening: float = 0.0
    evening_from: float = 0.0

    def __post_init__(self) -> None:
        """Raises WishError: a value with which no platform can be simulated; the message says what would do."""
        if not FEWEST_SERIES <= self.series <= MOST_SERIES:
            raise WishError(f"series must be {FEWEST_SERIES} to {MOST_SERIES}, not {self.series}")
        if not (math.isfinite(self.every_s) and SHORTEST_S <= self.every_s <= LONGEST_S):
            raise WishError(f"every must be {SHORTEST_S:g} to {LONGEST_S:g} seconds, not {self.every_s:g}")
        if not (math.isfinite(self.days) and self.every_s <= self.days * DAY_S <= LONGEST_DAYS * DAY_S):
            raise WishError(f"days must hold one reading at least and be at most {LONGEST_DAYS:g}, not {self.days:g}")
        if self.seed < 0:
            raise WishError(f"seed must be 0 or more, not {self.seed}")
        if self.start.tzinfo is None:
            raise WishError("start needs a time zone, such as 2026-01-05T00:00:00+00:00")
        if not (math.isfinite(self.per_week) and 0 < self.per_week <= 1_000):
            raise WishError(f"faults per week must be more than 0 and at most 1000, not {self.per_week:g}")
        if not (math.isfinite(self.growth) and -0.9 <= self.growth <= 10):
            raise WishError(f"growth must be -0.9 to 10 a year, not {self.growth:g}")
        if not 0 <= self.players <= 1_000:
            raise WishError(f"players must be 0 to 1000, not {self.players}")
        if self.calm_days is not None and not 0 <= self.calm_days < self.days:
            raise WishError(f"calm days must be 0 or more and fewer than days ({self.days:g}), not {self.calm_days:g}")

        if not (math.isfinite(self.evening) and 0 <= self.evening <= 100):
            raise WishError(f"evening must be 0 to 100 times as high as the usual peaks, not {self.evening:g}")
        if not (math.isfinite(self.evening_from) and self.evening_from >= 0):
            raise WishError(f"evening from must be a day from 0 on, not {self.evening_from:g}")

    @property
    def steps(self) -> int:
        """How many times each series is read."""
        return int(self.days * DAY_S / self.every_s + 1e-9)

    @property
    def end(self) -> datetime:
        """The moment after the last reading's interval: no sample is as late as this."""
        return self.start + self.steps * timedelta(seconds=self.every_s)

    @property
    def first_faulty_step(self) -> int:
        """No fault begins before this step."""
        calm = min(CALM_DAYS, self.days / 2) if self.calm_days is None else self.calm_days
        return math.ceil(calm * DAY_S / self.every_s)

    def time(self, step: int) -> datetime:
        """When the reading of that number is taken."""
        return self.start + step * timedelta(seconds=self.every_s)
