"""Looks at a Prometheus that is to be connected: what it has, which entities that would be, what it remembers."""

from __future__ import annotations

import statistics
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from gateway.naming import Naming
from gateway.remote_write import Labelled, from_milliseconds
from gateway.sources.prometheus_server import AlertingRule, PrometheusServer, Target
from tonewatch.clock import stretches
from tonewatch.records import Sample, Series

#: So much history is asked for at once: of 200 targets scraped every 15 s some 290,000 samples.
STRETCH = timedelta(hours=6)
FIRING = 'ALERTS{alertstate="firing"}'
#: Names that tell of players or of a stream: of these listener-minutes could be reckoned.
SOUND = ("icecast", "listener", "player", "stream", "rebuffer", "hls")

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Explored:
    """What a Prometheus has. entities: entity that a target would be -> the target; jobs: job -> targets."""

    version: str
    series: int | None
    metrics: int
    sounding: tuple[str, ...]
    targets: tuple[Target, ...]
    entities: dict[str, Target]
    rules: tuple[AlertingRule, ...]

    @property
    def jobs(self) -> dict[str, int]:
        """job -> how many targets it has."""
        return dict(sorted(Counter(target.job for target in self.targets).items()))


async def explore(server: PrometheusServer, naming: Naming) -> Explored:
    """Ask it for everything that can be known in a minute. Raises SourceError."""
    version = await server.version()
    targets = tuple(await server.targets())
    names = await server.metrics()
    return Explored(
        version=version,
        series=await server.series_count(),
        metrics=len(names),
        sounding=tuple(name for name in names if any(word in name.lower() for word in SOUND)),
        targets=targets,
        entities={naming.entity(Labelled("up", tuple(sorted(each.labels.items())))): each for each in targets},
        rules=tuple(await server.alerting_rules()),
    )


@dataclass(slots=True)
class Remembered:
    """What a Prometheus remembers: its scrapes' outcomes in columns, and its alerts that fired.

    lines: per series milliseconds since 1970, and 1 for each scrape that was answered or 0.
    """

    lines: dict[Series, tuple[array[int], array[float]]]
    alerts: list[Sample]

    @property
    def count(self) -> int:
        """How many scrapes there are."""
        return sum(len(times) for times, _ in self.lines.values())

    @property
    def span(self) -> tuple[datetime, datetime] | None:
        """From the first to the last scrape; None: there is none."""
        ends = [end for times, _ in self.lines.values() for end in (times[0], times[-1])]
        return (from_milliseconds(min(ends)), from_milliseconds(max(ends))) if ends else None

    def answered(self) -> dict[str, float]:
        """Per job the share of its scrapes that were answered, 0 to 1."""
        told: dict[str, list[int]] = {}
        for series, (times, values) in self.lines.items():
            counts = told.setdefault(dict(series.labels).get("job", ""), [0, 0])
            counts[0] += sum(value > 0 for value in values)
            counts[1] += len(times)
        return {job: good / all_ for job, (good, all_) in sorted(told.items())}

    def failing(self) -> list[Sample]:
        """The scrapes of those series of which some failed: of the others no rule can tell."""
        return [
            Sample(series, from_milliseconds(time), value)
            for series, (times, values) in self.lines.items()
            if min(values) <= 0
            for time, value in zip(times, values, strict=True)
        ]

    def interval_s(self, default: float) -> float:
        """The usual time between two scrapes of one series, in seconds."""
        apart = [after - before for times, _ in self.lines.values() for before, after in pairwise(times[:1000])]
        return statistics.median(apart) / 1000 if apart else default


async def recall(server: PrometheusServer, naming: Naming, start: datetime, end: datetime, say: Progress) -> Remembered:
    """Read what happened between `start` and `end`, stretch by stretch. Raises SourceError."""
    lines: dict[Series, tuple[array[int], array[float]]] = {}
    alerts: list[Sample] = []
    total = max(1, -(-(end - start) // STRETCH))
    for number, (since, until) in enumerate(stretches(start, end, STRETCH), start=1):
        for line in await server.raw("up", since, until):
            times, values = lines.setdefault(naming.series(line.told), (array("q"), array("d")))
            times.extend(line.times)
            values.extend(line.values)
        for line in await server.raw(FIRING, since, until):
            series = naming.series(line.told)
            alerts += [
                Sample(series, from_milliseconds(at), value) for at, value in zip(line.times, line.values, strict=True)
            ]
        if number % 8 == 0 or number == total:
            done = min(number * STRETCH, end - start) / timedelta(days=1)
            say(f"read {done:.1f} of {(end - start) / timedelta(days=1):.1f} days")
    return Remembered(lines, alerts)
