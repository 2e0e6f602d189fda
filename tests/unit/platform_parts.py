"""A small platform's parts and readings, as unit tests need them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from tonewatch.records import Entity, Sample, Series
from tonewatch.topology import Topology

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """So many seconds after START."""
    return START + timedelta(seconds=seconds)


def two_channels() -> Topology:
    """source -> ingest -> transcoder per channel; one packager, one origin, two edges; one rendition a channel."""
    shared = [
        Entity("component:packager", "package", feeds=("component:origin",)),
        Entity("component:origin", "origin", feeds=("edge:edge-1", "edge:edge-2")),
        Entity("edge:edge-1", "edge"),
        Entity("edge:edge-2", "edge"),
    ]
    return Topology([*shared, *(entity for name in ("ch1", "ch2") for entity in _channel(name))])


def _channel(name: str) -> list[Entity]:
    own = {"channel": f"channel:{name}"}
    rendition = f"rendition:{name}/aac-128"
    return [
        Entity(f"component:source-{name}-primary", "source", own, feeds=(f"component:ingest-{name}",)),
        Entity(f"component:ingest-{name}", "ingest", own, feeds=(f"component:transcoder-{name}",)),
        Entity(f"component:transcoder-{name}", "transcode", own, feeds=("component:packager",)),
        Entity(rendition, "rendition", own, depends_on=("component:origin",)),
        Entity(f"channel:{name}", "channel", depends_on=(rendition, "edge:edge-1", "edge:edge-2")),
    ]


def series(entity: str, metric: str, values: Sequence[float], first: float = 0.0, **labels: str) -> list[Sample]:
    """Samples one second apart from `first` on."""
    name = Series(entity, metric, tuple(sorted(labels.items())))
    return [Sample(name, at(first + step), value) for step, value in enumerate(values)]


def readings(*lines: list[Sample]) -> dict[tuple[str, str], list[Sample]]:
    """Readings as rules take them."""
    held: dict[tuple[str, str], list[Sample]] = {}
    for line in lines:
        for sample in line:
            held.setdefault((sample.series.entity, sample.series.metric), []).append(sample)
    return held
