"""The watcher's parts by themselves, on a real warehouse and without a Redis: what its tick says, who judges in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from console.watch import Watcher
from ml import registry
from tests.conftest import Database
from tests.integration.promoting import forget_aliases, version
from tests.integration.servers import Mlflow
from tests.integration.test_training import own
from tests.unit.platform_parts import START
from tonewatch.clock import ManualClock
from tonewatch.records import Sample, Series
from tonewatch.settings import Settings
from warehouse import calibrations
from warehouse.database import Warehouse

FAMILY = "transcode"


@asynccontextmanager
async def watching(
    folder: Path, database: Database, tenant: str, clock: ManualClock, mlflow: str | None = None
) -> AsyncIterator[Watcher]:
    settings = Settings(
        state_dir=folder,
        tenant=tenant,
        profile="demo",
        database_url=SecretStr(database.app_url),
        dispatcher_database_url=SecretStr(database.dispatcher_url),
        mlflow_tracking_uri=mlflow,
    )
    watcher = Watcher(settings, clock)
    try:
        yield watcher
    finally:
        await watcher.collector.close()
        await watcher.cache.close()
        await watcher.warehouse.close()


async def test_a_watcher_that_only_hears_itself_has_collected_nothing(
    tmp_path: Path, database: Database, tenant: str
) -> None:
    clock = ManualClock(START)
    async with watching(tmp_path, database, tenant, clock) as watcher:
        for _ in range(2):
            clock.advance(5)
            watcher.collector.add(Sample(Series("host:watcher", "host_starved_seconds", unit="s"), clock.now(), 0.0))
            await watcher.tick()
        assert watcher.ticks == 2
        assert watcher.collected_since is None
        first = clock.now() + timedelta(seconds=2)
        watcher.collector.add(Sample(Series("component:a", "up"), first, 1.0))
        clock.advance(5)
        await watcher.tick()
        assert watcher.collected_since == first


@pytest.mark.timeout(300)
async def test_a_watcher_tells_of_a_champion_that_fails_and_goes_on_by_one_that_does_not_without_a_registry(
    tmp_path: Path, database: Database, warehouse: Warehouse, tenant: str, mlflow: Mlflow
) -> None:
    await asyncio.to_thread(forget_aliases, mlflow.url, FAMILY)
    broken = await asyncio.to_thread(version, mlflow.url, tenant, FAMILY, 1, brittle=True)
    healthy = await asyncio.to_thread(version, mlflow.url, tenant, FAMILY, 2)
    async with warehouse.as_tenant(tenant) as db:
        await calibrations.put(tenant, db, [own(FAMILY, each, 0.8) for each in (broken, healthy)])
    clock = ManualClock(START)
    async with watching(tmp_path, database, tenant, clock, mlflow.url) as watcher:
        await asyncio.to_thread(registry.promote, mlflow.url, FAMILY, broken)
        await watcher._fetch_champions()
        await watcher.tick()
        told = [(each.symptom, each.model_version) for each in watcher.findings]
        assert ("model-fails", f"{FAMILY}-isolation-forest/{broken}") in told
        await asyncio.to_thread(registry.promote, mlflow.url, FAMILY, healthy)
        await watcher._fetch_champions()
        clock.advance(5)
        await watcher.tick()
        assert "model-fails" not in {each.symptom for each in watcher.detection.conditions.values()}
        assert watcher.detection.champions[FAMILY].version == healthy
    async with watching(tmp_path, database, tenant, clock, "http://127.0.0.1:9") as heir:
        await heir._fetch_champions()
        assert heir.detection.champions[FAMILY].version == healthy
