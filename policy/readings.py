"""Recent samples as rules look at them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile

from tonewatch.records import Sample

#: (entity, metric) -> its samples of the last minutes, ordered by time.
Readings = Mapping[tuple[str, str], Sequence[Sample]]


def entities_with(readings: Readings, metric: str) -> list[str]:
    """Entities that have at least one sample of `metric`, by name."""
    return sorted(entity for (entity, name), samples in readings.items() if name == metric and samples)


def last(readings: Readings, entity: str, metric: str) -> Sample | None:
    """The newest sample, or None."""
    samples = readings.get((entity, metric))
    return samples[-1] if samples else None


def trailing_run(samples: Sequence[Sample], below: float | None = None, above: float | None = None) -> list[Sample]:
    """The samples at the end that all lie at or below `below` (or at or above `above`), in order of time."""

    def inside(sample: Sample) -> bool:
        return (below is None or sample.value <= below) and (above is None or sample.value >= above)

    return list(takewhile(inside, reversed(samples)))[::-1]
