"""A small platform of edges whose samples are made: what tests of the feature store share."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

from feature_store.definitions import metrics
from feature_store.views import View, view
from tonewatch.records import Entity, Sample, Series
from tonewatch.settings import load_profile
from warehouse import entities, samples
from warehouse.database import Warehouse

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
EDGE: View = view("edge", load_profile("demo"))
EDGES = ("edge:edge-1", "edge:edge-2", "edge:edge-3")


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def telemetry(start: float, end: float, *, edges: Sequence[str] = EDGES, seed: int = 0) -> list[Sample]:
    """A sample a second of every metric of the edges, start < second <= end: counters that grow, levels in range."""
    made = []
    for number, edge in enumerate(edges):
        for metric in sorted(metrics("edge")):
            series = Series(edge, metric, (("code", "200"),) if metric == "http_requests_total" else ())
            chance = np.random.default_rng([seed, number, len(metric)])
            steps = chance.random(round(end) + 1)
            # Every request is looked up once, and takes some milliseconds of anything.
            scale = 1.0 if "total" in metric or "count" in metric else 0.01
            grown = steps.cumsum() * scale if "mean" not in metric and "lag" not in metric else steps * scale
            made += [
                Sample(series, at(second), float(grown[second])) for second in range(round(start) + 1, round(end) + 1)
            ]
    return made


async def settle(warehouse: Warehouse, tenant: str, told: Sequence[Sample], edges: Sequence[str] = EDGES) -> None:
    """Let the tenant have the edges and the samples."""
    async with warehouse.as_tenant(tenant) as db:
        await entities.save(tenant, db, [Entity(edge, "edge") for edge in edges], at(-86_400))
        await samples.append(tenant, db, told)
