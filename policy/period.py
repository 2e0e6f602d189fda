"""Which stretch of time a report tells of, in UTC. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from tonewatch.errors import SettingsError

WEEK: Final = timedelta(days=7)
DAY: Final = timedelta(days=1)
LONGEST: Final = timedelta(days=366)
#: More bars than these nobody reads in a picture of 600 pixels.
MOST_BARS: Final = 60


@dataclass(frozen=True, slots=True)
class Period:
    """start <= time < end."""

    start: datetime
    end: datetime

    @property
    def seconds(self) -> float:
        """How long it is."""
        return (self.end - self.start).total_seconds()

    @property
    def week(self) -> tuple[int, int] | None:
        """(year, number) when it is one whole week of ISO 8601, else None."""
        midnight = self.start.time() == datetime.min.time() and self.start.weekday() == 0
        year, number, _ = self.start.isocalendar()
        return (year, number) if midnight and self.end - self.start == WEEK else None

    @property
    def key(self) -> str:
        """A name without blanks, the same for the same period: `week-2026-W27`, or both ends."""
        if self.week is not None:
            return f"week-{self.week[0]}-W{self.week[1]:02d}"
        return f"days-{self.start:%Y%m%dT%H%M%SZ}-{self.end:%Y%m%dT%H%M%SZ}"


def week_before(as_of: datetime) -> Period:
    """The last whole ISO week that was over at `as_of`. Raises SettingsError: a time without its zone."""
    day = _utc(as_of).replace(hour=0, minute=0, second=0, microsecond=0)
    monday = day - timedelta(days=day.weekday())
    return Period(monday - WEEK, monday)


def days_until(days: float, until: datetime) -> Period:
    """The `days` before `until`. Raises SettingsError: no days or more than 366, or a time without its zone."""
    if not 0 < days <= LONGEST / DAY:
        raise SettingsError(f"{days:g} is no number of days for a report; give more than 0 and at most {LONGEST.days}")
    end = _utc(until).replace(microsecond=0)
    return Period(end - timedelta(seconds=max(1, round(days * 86_400))), end)


def bars(period: Period, day_seconds: float) -> list[Period]:
    """The period in the platform's days of `day_seconds`, in real days or in weeks: the first that makes few enough
    bars. The last may be shorter.
    """
    wanted = (timedelta(seconds=day_seconds), DAY, WEEK)
    step = next((each for each in wanted if period.end - period.start <= MOST_BARS * each), WEEK)
    made, start = [], period.start
    while start < period.end:
        made.append(Period(start, min(start + step, period.end)))
        start += step
    return made


def _utc(time: datetime) -> datetime:
    if time.tzinfo is None:
        raise SettingsError(f"the time {time.isoformat()} has no zone; write it as 2026-07-06T00:00:00Z")
    return time.astimezone(UTC)
