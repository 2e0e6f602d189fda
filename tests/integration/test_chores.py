"""Where there is no worker, the watcher does by itself what is due each hour and each week."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pydantic import SecretStr

from console.chores import Chores
from tests.conftest import Database
from tonewatch.clock import ManualClock
from tonewatch.records import Notice, Sample, Series
from tonewatch.settings import Settings
from warehouse import notices, rollups, samples
from warehouse.database import Warehouse

WEDNESDAY = datetime(2026, 3, 11, 12, tzinfo=UTC)
LEVEL = Series("rendition:icecast/live.mp3", "probe_loudness_lufs")


async def test_samples_are_rolled_up_each_hour_and_each_week_is_reported_once(
    warehouse: Warehouse, tenant: str, database: Database
) -> None:
    clock = ManualClock(WEDNESDAY)
    settings = Settings(tenant=tenant, profile="station", database_url=SecretStr(database.app_url))
    chores = Chores(settings, warehouse, clock)
    told = [Sample(LEVEL, WEDNESDAY - timedelta(minutes=minute), -20.0) for minute in range(10, 20)]
    async with warehouse.as_tenant(tenant) as db:
        await samples.append(tenant, db, told)

    async def rolled_up() -> int:
        async with warehouse.as_tenant(tenant) as db:
            found = await rollups.read(tenant, db, [LEVEL.id], WEDNESDAY - timedelta(days=1), WEDNESDAY)
        return sum(each.samples for each in found)

    async def reports() -> list[Notice]:
        async with warehouse.as_tenant(tenant) as db:
            return await notices.of_incident(tenant, db, "week-2026-W11")

    await chores.look()
    assert await rolled_up() == 0  # a stack that has just started has other things to do
    clock.advance(11 * 60)
    await chores.look()
    assert await rolled_up() == len(told)
    clock.advance((datetime(2026, 3, 16, 5, 59, tzinfo=UTC) - clock.now()).total_seconds())
    await chores.look()
    assert await reports() == []  # nor is a week reported before it is over and six o'clock
    clock.advance(120)
    for _ in range(2):
        await chores.look()
    assert [each.channel for each in await reports()] == ["email"]
