"""The last minutes of every series, in memory: what rules and live windows read. Rebuilt from the warehouse."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from tonewatch.records import Sample


class Recent:
    """Samples of the last `horizon`, ordered by time within (entity, metric); bounded by time and by number.

    >>> recent = Recent(timedelta(seconds=60))
    >>> recent.readings
    {}
    """

    #: A metric of one entity holds at most this many samples: a bound against label explosions.
    LARGEST = 20_000

    def __init__(self, horizon: timedelta) -> None:
        self._horizon = horizon
        self.readings: dict[tuple[str, str], list[Sample]] = {}

    def add(self, samples: Iterable[Sample]) -> None:
        """Put samples where their time belongs; late ones find their place as well."""
        for sample in samples:
            held = self.readings.setdefault((sample.series.entity, sample.series.metric), [])
            if not held or held[-1].time <= sample.time:
                held.append(sample)
            else:
                insort(held, sample, key=lambda s: s.time)

    def forget(self, now: datetime) -> None:
        """Drop what is older than the horizon."""
        oldest = now - self._horizon
        for key in list(self.readings):
            kept = [sample for sample in self.readings[key] if sample.time > oldest][-self.LARGEST :]
            if kept:
                self.readings[key] = kept
            else:
                del self.readings[key]

    def between(self, start: datetime, end: datetime) -> Iterator[Sample]:
        """All samples of (start, end]."""
        for samples in self.readings.values():
            yield from (sample for sample in samples if start < sample.time <= end)
