"""Reads the past of single series again, in the rounds in which the watcher ticked: for a restart, and for training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import numpy as np

from feature_store.history import STARVED, WATCHER
from tasks.rounds import TICKED, from_seconds, moments
from tonewatch.records import Sample
from tonewatch.topology import Topology
from warehouse import samples
from warehouse.database import Warehouse


async def ticks_of(tenant: str, warehouse: Warehouse, start: datetime, end: datetime) -> list[float]:
    """When the watcher ticked from `start` up to `end`, in epoch seconds. Raises WarehouseAway."""
    until = end + timedelta(microseconds=1)
    async with warehouse.as_tenant(tenant) as db:
        told = await samples.read(tenant, db, start, until, entities=[TICKED.entity], metrics=[TICKED.metric])
    return sorted(sample.time.timestamp() for sample in told)


async def rounds_of(
    tenant: str, warehouse: Warehouse, start: datetime, end: datetime, tick_seconds: float
) -> list[float]:
    """When the rounds after `start` up to `end` ended, in epoch seconds. Raises WarehouseAway."""
    ticks = await ticks_of(tenant, warehouse, start, end)
    return list(moments(ticks, start.timestamp(), end.timestamp(), tick_seconds))


async def told_of(
    tenant: str, warehouse: Warehouse, start: datetime, end: datetime, topology: Topology
) -> list[Sample]:
    """What the parts of the platform told from `start` up to `end`, and whether the watcher's machine was starved."""
    until = end + timedelta(microseconds=1)
    async with warehouse.as_tenant(tenant) as db:
        read = await samples.read(tenant, db, start, until, entities=list(topology.entities))
        return read + await samples.read(tenant, db, start, until, entities=[WATCHER], metrics=[STARVED])


def by_round(read: Sequence[Sample], ends: Sequence[float]) -> Iterator[tuple[datetime, list[Sample]]]:
    """The rounds that end at `ends` (epoch seconds, in order), each with the samples that came up to its end."""
    ordered = sorted(read, key=lambda each: (each.time, each.series.entity, each.series.metric, each.series.labels))
    times = np.fromiter((sample.time.timestamp() for sample in ordered), np.float64, len(ordered))
    first = 0
    for end in ends:
        cut = int(np.searchsorted(times, end, "right"))
        yield from_seconds(end), ordered[first:cut]
        first = cut
