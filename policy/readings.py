"""Recent samples as rules look at them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import takewhile
from typing import Protocol, runtime_checkable

from tonewatch.records import Sample

#: (entity, metric) -> its samples of the last minutes, ordered by time.
Readings = Mapping[tuple[str, str], Sequence[Sample]]


@runtime_checkable
class Indexed(Protocol):
    """Readings that know by heart who has a metric; all others are looked through."""

    def entities_with(self, metric: str) -> list[str]:
        """Entities that have at least one sample of `metric`, by name."""


@runtime_checkable
class Timed(Protocol):
    """Samples that can be cut at a time without being looked at one by one."""

    def after(self, time: datetime) -> Sequence[Sample]:
        """The samples later than `time`."""


def entities_with(readings: Readings, metric: str) -> list[str]:
    """Entities that have at least one sample of `metric`, by name."""
    if isinstance(readings, Indexed):
        return readings.entities_with(metric)
    return sorted(entity for (entity, name), samples in readings.items() if name == metric and samples)


def last(readings: Readings, entity: str, metric: str) -> Sample | None:
    """The newest sample, or None."""
    samples = readings.get((entity, metric))
    return samples[-1] if samples else None


def after(samples: Sequence[Sample], time: datetime) -> Sequence[Sample]:
    """The samples later than `time`, in order of time."""
    if isinstance(samples, Timed):
        return samples.after(time)
    return [sample for sample in samples if sample.time > time]


def trailing_run(samples: Sequence[Sample], below: float | None = None, above: float | None = None) -> list[Sample]:
    """The samples at the end that all lie at or below `below` (or at or above `above`), in order of time."""

    def inside(sample: Sample) -> bool:
        return (below is None or sample.value <= below) and (above is None or sample.value >= above)

    return list(takewhile(inside, reversed(samples)))[::-1]
