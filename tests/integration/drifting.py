"""Rows of features of a tenant's edges, month-long in compressed days: what tests of drift and of quality share."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np

from feature_store.offline import ends_within
from tests.integration.features import EDGE, EDGES, NOON
from tonewatch.clock import microseconds
from tonewatch.records import Entity
from warehouse import entities, features
from warehouse.database import Warehouse

#: The demo's day, and when the tests look.
DAY = timedelta(seconds=90)
NOW = NOON + timedelta(minutes=2)
#: Values in the middle of what the contracts allow, in the order of the view's features.
USUAL = np.array([0.02, 0.02, 0.05, 0.01, 0.1, 0.1, 0.9, 0.01])
NOISE = np.array([0.002, 0.005, 0.01, 0.001, 0.02, 0.02, 0.02, 0.005])


async def furnish(
    warehouse: Warehouse,
    tenant: str,
    *,
    days: float = 31,
    until: datetime = NOW,
    shift: float = 0.0,
    since: datetime | None = None,
    seed: int = 1,
    edges: Sequence[str] = EDGES,
) -> None:
    """Let the tenant have windows of so many days before `until`; from `since` on seconds_per_request is `shift` up."""
    ends = ends_within(EDGE, until - days * DAY, until)
    chance = np.random.default_rng(seed)
    times = np.array([microseconds(end) for end in ends], np.int64)
    values = USUAL + NOISE * chance.standard_normal((len(edges), len(ends), len(USUAL)))
    if since is not None:
        values[:, times > microseconds(since), 0] += shift
    columns = features.FeatureColumns(
        edges,
        np.repeat(np.arange(len(edges)), len(ends)),
        np.tile(times, len(edges)),
        np.ones(len(edges) * len(ends)),
        np.abs(values.reshape(-1, len(USUAL))),
    )
    async with warehouse.as_tenant(tenant) as db:
        await entities.save(tenant, db, [Entity(edge, "edge") for edge in edges], until - 40 * DAY)
        await features.put_view(tenant, db, EDGE.stored, until)
        await features.put(tenant, db, EDGE.id, columns, until)
