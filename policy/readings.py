"""Recent samples as rules look at them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise, takewhile

from tonewatch.records import Sample
from tonewatch.settings import Profile

#: A sample older than this says nothing about now: its source has fallen silent.
FRESH = timedelta(seconds=10)
#: Told of a Prometheus: 1 where the metric of a tenant's own rule, named in its label, was not given.
UNREAD = "rule_metric_unread"
#: (entity, metric) -> its samples of the last minutes, ordered by time.
Readings = Mapping[tuple[str, str], Sequence[Sample]]


def entities_with(readings: Readings, metric: str) -> list[str]:
    """Entities that have at least one sample of `metric`, by name."""
    # The watcher's memory knows by heart what plain readings are looked through for; here and below.
    known: Callable[[str], list[str]] | None = getattr(readings, "entities_with", None)
    if known is not None:
        return known(metric)
    return sorted(entity for (entity, name), samples in readings.items() if name == metric and samples)


def quiet(readings: Readings, before: datetime) -> list[tuple[str, str]]:
    """The (entity, metric) whose newest sample is not later than `before`, in order."""
    known: Callable[[datetime], list[tuple[str, str]]] | None = getattr(readings, "quiet", None)
    if known is not None:
        return known(before)
    return sorted(key for key, samples in readings.items() if samples and samples[-1].time <= before)


def last(readings: Readings, entity: str, metric: str) -> Sample | None:
    """The newest sample, or None."""
    samples = readings.get((entity, metric))
    return samples[-1] if samples else None


def after(samples: Sequence[Sample], time: datetime) -> Sequence[Sample]:
    """The samples later than `time`, in order of time."""
    cut: Callable[[datetime], Sequence[Sample]] | None = getattr(samples, "after", None)
    if cut is not None:
        return cut(time)
    return [sample for sample in samples if sample.time > time]


def trailing_run(samples: Sequence[Sample], below: float | None = None, above: float | None = None) -> list[Sample]:
    """The samples at the end that all lie at or below `below` (or at or above `above`), in order of time."""

    def inside(value: float) -> bool:
        return (below is None or value <= below) and (above is None or value >= above)

    run: Callable[[Callable[[float], bool]], Sequence[Sample]] | None = getattr(samples, "trailing", None)
    if run is not None:
        return list(run(inside))
    return list(takewhile(lambda sample: inside(sample.value), reversed(samples)))[::-1]


def in_a_row(
    readings: Readings,
    metric: str,
    now: datetime,
    profile: Profile,
    *,
    below: float | None = None,
    above: float | None = None,
) -> Iterator[tuple[str, list[Sample]]]:
    """Entities whose last samples of `metric` all lie so, told of now, and are as many as make a failure; with them."""
    for entity in entities_with(readings, metric):
        run = trailing_run(readings[entity, metric], below, above)
        if len(run) >= profile.scrapes_failed and fresh(run[-1], now, profile):
            yield entity, run


def usual_gap(samples: Sequence[Sample]) -> timedelta | None:
    """The usual time between two of these samples, which are in order of time; None: there are fewer than two."""
    gaps = [(later.time - sooner.time).total_seconds() for sooner, later in pairwise(samples)]
    return timedelta(seconds=statistics.median(gaps)) if gaps else None


def fresh(sample: Sample, now: datetime, profile: Profile, gap: timedelta | None = None) -> bool:
    """Whether the sample tells of now. `gap`: between its like, where another scrapes them, maybe more slowly."""
    usual = max(timedelta(seconds=profile.scrape_seconds), gap or timedelta())
    return now - sample.time <= max(FRESH, 2 * usual + timedelta(seconds=profile.tick_seconds))
