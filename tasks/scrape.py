"""One look at a component's or a source's own figures, as samples; one that failed is told by samples too."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache

from gateway.sources.prometheus import Exposition
from tonewatch.errors import SourceError
from tonewatch.records import Sample, Series, SeriesKind

#: Histograms' buckets are not kept: nothing reads them, and they are most of what a component exposes.
LEFT_OUT = ("_bucket", "_created")


def scraped(entity: str, outcome: Exposition | SourceError, now: datetime) -> list[Sample]:
    """The samples of one scrape: what it exposed and that it is up, or that it failed and why."""
    if isinstance(outcome, SourceError):
        reason = (("reason", outcome.reason),)
        return [
            Sample(Series(entity, "up"), now, 0.0),
            Sample(Series(entity, "scrape_failed", reason), now, 1.0),
        ]
    samples = [
        Sample(_named(entity, reading.name, reading.labels, reading.kind), now, reading.value)
        for reading in outcome.samples
        if not reading.name.endswith(LEFT_OUT)
    ]
    samples.append(Sample(Series(entity, "up"), now, 1.0))
    samples.append(Sample(Series(entity, "scrape_seconds", unit="s"), now, outcome.seconds))
    return samples


@lru_cache(maxsize=262_144)
def _named(entity: str, metric: str, labels: tuple[tuple[str, str], ...], kind: SeriesKind) -> Series:
    """The same object for the same series: whoever keeps samples knows it again without reading its name."""
    return Series(entity, metric, labels, kind=kind)
