"""Looks at a Prometheus that is to be connected: what it has, which entities that would be, what it remembers."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.naming import Naming
from gateway.remote_write import Labelled
from gateway.sources.prometheus_server import EPOCH, AlertingRule, Line, PrometheusServer, Target
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
    """What a Prometheus remembers: its scrapes' outcomes and its alerts that fired, in order of time."""

    scrapes: list[Sample]
    alerts: list[Sample]

    @property
    def span(self) -> tuple[datetime, datetime] | None:
        """From the first to the last scrape; None: there is none."""
        times = [sample.time for sample in self.scrapes]
        return (min(times), max(times)) if times else None


async def recall(server: PrometheusServer, naming: Naming, start: datetime, end: datetime, say: Progress) -> Remembered:
    """Read what happened between `start` and `end`, stretch by stretch. Raises SourceError."""
    scrapes: list[Sample] = []
    alerts: list[Sample] = []
    series: dict[Labelled, Series] = {}
    total = max(1, -(-(end - start) // STRETCH))
    for number, (since, until) in enumerate(_stretches(start, end), start=1):
        for selector, kept in (("up", scrapes), (FIRING, alerts)):
            for line in await server.raw(selector, since, until):
                kept.extend(_samples(line, series, naming))
        if number % 8 == 0 or number == total:
            say(f"read {number * STRETCH / timedelta(days=1):.0f} of {(end - start) / timedelta(days=1):.0f} days")
    scrapes.sort(key=_time)
    alerts.sort(key=_time)
    return Remembered(scrapes, alerts)


def _stretches(start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    while start < end:
        until = min(start + STRETCH, end)
        yield start, until
        start = until


def _samples(line: Line, known: dict[Labelled, Series], naming: Naming) -> Iterator[Sample]:
    held = known.get(line.told)
    if held is None:
        held = known[line.told] = naming.series(line.told)
    times: array[int] = line.times
    for time, value in zip(times, line.values, strict=True):
        yield Sample(held, EPOCH + timedelta(milliseconds=time), value)


def _time(sample: Sample) -> datetime:
    return sample.time
