"""The watcher's tick by itself, on a real warehouse and without a Redis: what it says of what it has collected."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from pydantic import SecretStr

from console.watch import Watcher
from tests.conftest import Database
from tests.unit.platform_parts import START
from tonewatch.clock import ManualClock
from tonewatch.records import Sample, Series
from tonewatch.settings import Settings


async def test_a_watcher_that_only_hears_itself_has_collected_nothing(
    tmp_path: Path, database: Database, tenant: str
) -> None:
    clock = ManualClock(START)
    settings = Settings(
        state_dir=tmp_path,
        tenant=tenant,
        profile="demo",
        database_url=SecretStr(database.app_url),
        dispatcher_database_url=SecretStr(database.dispatcher_url),
    )
    watcher = Watcher(settings, clock)
    try:
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
    finally:
        await watcher.collector.close()
        await watcher.cache.close()
        await watcher.warehouse.close()
