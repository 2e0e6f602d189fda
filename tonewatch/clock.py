"""The one clock. Everything that asks for the time asks here, so that history can be replayed on another."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Protocol

#: Where times that are kept as numbers begin, and what they count in.
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class Clock(Protocol):
    """Something that tells the time."""

    def now(self) -> datetime:
        """The time of day, in UTC, with microseconds."""
        ...

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never goes backward. For durations only."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


class ManualClock:
    """A clock that moves only when told to: for tests and for replay.

    >>> clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    >>> clock.advance(1.5)
    >>> clock.now().isoformat()
    '2026-01-01T00:00:01.500000+00:00'
    """

    def __init__(self, start: datetime) -> None:
        self._start = start
        self._shift = timedelta()
        self._elapsed = timedelta()

    def now(self) -> datetime:
        return self._start + self._shift

    def monotonic(self) -> float:
        return self._elapsed.total_seconds()

    def advance(self, seconds: float) -> None:
        """Move forward by `seconds` (negative: a clock that was set back, which its durations do not notice)."""
        step = timedelta(seconds=seconds)
        self._shift += step
        self._elapsed += max(step, timedelta())


SYSTEM = SystemClock()


def stretches(start: datetime, end: datetime, longest: timedelta) -> Iterator[tuple[datetime, datetime]]:
    """From `start` to `end` in parts that follow one another, each of `longest` but for the last.

    >>> noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    >>> [(b - a).seconds for a, b in stretches(noon, noon + timedelta(seconds=5), timedelta(seconds=2))]
    [2, 2, 1]
    """
    while start < end:
        until = min(start + longest, end)
        yield start, until
        start = until


def microseconds(time: datetime) -> int:
    """A time as microseconds since 1970."""
    return (time - EPOCH) // MICROSECOND


def moment(microseconds: int) -> datetime:
    """The time that is so many microseconds after 1970, in UTC."""
    return EPOCH + microseconds * MICROSECOND
