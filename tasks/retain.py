"""Rolls samples up before they end, and ends what has outlived its retention."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from tonewatch.clock import stretches
from tonewatch.errors import SettingsError
from warehouse import cursors, retention, rollups, tenants
from warehouse.database import Connection, Warehouse

log = logging.getLogger(__name__)

CURSOR = "rollup"
#: Steps are made anew for so long; what comes in later still is counted when they stop being hot.
LATE = timedelta(hours=1)
#: How far back the first run looks for samples.
FIRST = timedelta(days=7)
#: A stretch is rolled up in transactions of so long: short ones, since deliveries wait for the oldest that writes.
STRETCH = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Retained:
    """What one run did for one tenant: roll-up rows made or changed, and rows ended by table."""

    tenant: str
    rolled_up: int
    ended: dict[str, int]


async def retain(tenant: str, warehouse: Warehouse, now: datetime) -> Retained:
    """Roll up everything that is whole, then end what is outlived. A run that was interrupted is carried on.

    Raises UnknownTenant, WarehouseAway.
    """
    rolled_up = await _roll_up(tenant, warehouse, now)
    async with warehouse.as_tenant(tenant) as db:
        ended = await retention.end_outlived(tenant, db, now, await _sessions(tenant, db))
    return Retained(tenant, rolled_up, ended)


async def end_features(tenant: str, warehouse: Warehouse, now: datetime) -> int:
    """End the rows of features that are older than sessions may be, portion by portion; gives how many.

    What was ended stays so if a later portion fails. Raises UnknownTenant, WarehouseAway.
    """
    async with warehouse.as_tenant(tenant) as db:
        before = now - await _sessions(tenant, db)
    ended = 0
    while True:
        async with warehouse.as_tenant(tenant) as db:
            portion = await retention.end_features(tenant, db, before)
        ended += portion
        if portion < retention.AT_ONCE:
            return ended


async def _sessions(tenant: str, db: Connection) -> timedelta:
    """How long the tenant's sessions are kept."""
    try:
        return timedelta(days=(await tenants.profile(tenant, db)).sessions_days)
    except SettingsError as error:
        log.warning("%s is kept by the usual retention: its settings are not used: %s", tenant, error)
        return retention.LASTS["session"]


async def _roll_up(tenant: str, warehouse: Warehouse, now: datetime) -> int:
    """What is new, and once more what stops being hot: after that nothing is taken in for it any more."""
    end, hot = rollups.step_of(now), retention.LASTS["hot"]
    async with warehouse.as_tenant(tenant) as db:
        told = await cursors.get(tenant, db, CURSOR)
        first = None if told else await rollups.earliest(tenant, db, end - FIRST)
    if told:
        before = datetime.fromisoformat(told["time"])
        spans = [(before - hot, end - hot), (before - LATE, end)]
    else:  # days without samples would be gone through by the half-hour
        spans = [(rollups.step_of(first), end)] if first else []
    made = 0
    for start, until in spans:
        for stretch in stretches(start, until, STRETCH):
            async with warehouse.as_tenant(tenant) as db:
                made += await rollups.make(tenant, db, *stretch)
    async with warehouse.as_tenant(tenant) as db:
        await cursors.set(tenant, db, CURSOR, {"time": end.isoformat()}, now)
    return made


async def drop_days(warehouse: Warehouse, tenant: str, now: datetime) -> int:
    """Drop the days of samples that no tenant needs any more; any tenant's transaction will do. After `retain`."""
    async with warehouse.as_tenant(tenant) as db:
        return await retention.drop_partitions(db, now)
