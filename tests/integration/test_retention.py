"""Samples are rolled up before they end, and what has outlived its retention ends; on a real PostgreSQL."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from console.tenancy import Change, Tenancy
from tasks.retain import drop_days, end_features, retain
from tests.conftest import Database, new_tenant
from tests.integration.features import EDGE
from tests.integration.furnished import START, furnish, report
from tonewatch.clock import microseconds
from tonewatch.errors import WarehouseError
from tonewatch.records import Sample, Series
from warehouse import deliveries, features, retention, rollups, samples, sessions
from warehouse.database import Warehouse

pytestmark = pytest.mark.integration

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
HOUR, DAY, STEP = timedelta(hours=1), timedelta(days=1), rollups.STEP
UP = Series("component:a", "up")


@pytest.fixture
def partitions(database: Database) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database.admin_url, autocommit=True) as connection:
        yield connection


def days(connection: psycopg.Connection) -> set[str]:
    query = "select relname from pg_class where relname ~ '^sample_hot_[0-9]{8}$' and relkind = 'r'"
    return {name.removeprefix("sample_hot_") for (name,) in connection.execute(query).fetchall()}


async def add(warehouse: Warehouse, tenant: str, *told: tuple[datetime, float], series: Series = UP) -> None:
    async with warehouse.as_tenant(tenant) as db:
        await samples.append(tenant, db, [Sample(series, time, value) for time, value in told])


async def rolled(warehouse: Warehouse, tenant: str, series: Series = UP) -> list[rollups.Rollup]:
    async with warehouse.as_tenant(tenant) as db:
        return await rollups.read(tenant, db, [series.id], NOON - 30 * DAY, NOON + 30 * DAY)


async def count(warehouse: Warehouse, tenant: str, table: str) -> int:
    async with warehouse.as_tenant(tenant) as db:
        return int((await db.execute(text(f"select count(*) from {table}"))).scalar_one())


values = st.sampled_from([0.0, 1.0, -2.5, 1e300, 5e-324])
offsets = st.integers(0, 3600)


@given(told=st.dictionaries(offsets, values, max_size=30))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_a_roll_up_is_what_a_plain_count_gives(warehouse: Warehouse, told: dict[int, float]) -> None:
    tenant = await new_tenant(warehouse)
    await add(warehouse, tenant, *((NOON + timedelta(seconds=at), value) for at, value in told.items()))
    plain: dict[datetime, list[float]] = defaultdict(list)
    for at, value in sorted(told.items()):
        plain[NOON + timedelta(seconds=at - at % 300)].append(value)
    async with warehouse.as_tenant(tenant) as db:
        await rollups.make(tenant, db, NOON, NOON + 2 * HOUR)
    found = await rolled(warehouse, tenant)
    assert [(each.time, each.samples, each.low, each.high, each.last) for each in found] == [
        (time, len(some), min(some), max(some), some[-1]) for time, some in sorted(plain.items())
    ]
    means = [statistics.fmean(min(value, 1e150) for value in some) for _, some in sorted(plain.items())]
    assert [each.mean for each in found] == pytest.approx(means)


async def test_a_second_run_changes_nothing_and_a_late_sample_is_counted(warehouse: Warehouse, tenant: str) -> None:
    await add(warehouse, tenant, (NOON - STEP, 1.0), (NOON - STEP + timedelta(seconds=1), 3.0))
    assert (await retain(tenant, warehouse, NOON)).rolled_up == 1
    assert (await retain(tenant, warehouse, NOON)).rolled_up == 0
    await add(warehouse, tenant, (NOON - STEP + timedelta(seconds=2), 8.0))
    assert (await retain(tenant, warehouse, NOON + HOUR / 2)).rolled_up == 1
    (found,) = await rolled(warehouse, tenant)
    assert (found.samples, found.low, found.high, found.mean, found.last) == (3, 1.0, 8.0, 4.0, 8.0)


async def test_steps_that_are_not_over_wait(warehouse: Warehouse, tenant: str) -> None:
    await add(warehouse, tenant, (NOON + timedelta(minutes=1), 1.0))
    assert (await retain(tenant, warehouse, NOON + timedelta(minutes=4))).rolled_up == 0
    assert (await retain(tenant, warehouse, NOON + timedelta(minutes=5))).rolled_up == 1


async def test_what_came_very_late_is_counted_when_it_stops_being_hot(warehouse: Warehouse, tenant: str) -> None:
    await add(warehouse, tenant, (NOON, 1.0))
    await retain(tenant, warehouse, NOON + HOUR)
    await add(warehouse, tenant, (NOON + timedelta(seconds=1), 2.0))
    for hours in range(6, 54, 6):
        await retain(tenant, warehouse, NOON + hours * HOUR)
    (found,) = await rolled(warehouse, tenant)
    assert found.samples == 2


async def test_a_maintenance_that_was_away_for_days_rolls_up_before_it_drops(
    warehouse: Warehouse, tenant: str, partitions: psycopg.Connection
) -> None:
    await add(warehouse, tenant, (NOON, 1.0))
    await retain(tenant, warehouse, NOON + HOUR)
    await add(warehouse, tenant, (NOON + 2 * HOUR, 2.0), (NOON + DAY, 3.0))
    late = NOON + 6 * DAY
    await retain(tenant, warehouse, late)
    assert await drop_days(warehouse, tenant, late) >= 2
    assert await count(warehouse, tenant, "sample") == 0
    assert [each.last for each in await rolled(warehouse, tenant)] == [1.0, 2.0, 3.0]


async def test_only_days_that_are_wholly_outlived_are_dropped(
    warehouse: Warehouse, tenant: str, partitions: psycopg.Connection
) -> None:
    start = datetime(2026, 5, 1, tzinfo=UTC)
    await add(warehouse, tenant, *((start + day * DAY, float(day)) for day in range(4)))
    assert days(partitions) >= {"20260501", "20260502", "20260503", "20260504"}
    await drop_days(warehouse, tenant, start + 3 * DAY - timedelta(microseconds=1))
    assert days(partitions) >= {"20260501", "20260502"}
    await drop_days(warehouse, tenant, start + 3 * DAY)  # the first of May ended 48 hours ago
    assert "20260501" not in days(partitions)
    assert days(partitions) >= {"20260502", "20260503", "20260504"}
    await add(warehouse, tenant, (start, 9.0))  # a day that comes back is made anew
    assert "20260501" in days(partitions)


async def test_a_day_that_somebody_reads_stays_until_the_next_time(
    warehouse: Warehouse, tenant: str, partitions: psycopg.Connection
) -> None:
    start = datetime(2026, 6, 1, tzinfo=UTC)
    await add(warehouse, tenant, (start, 1.0))
    with partitions.transaction():
        partitions.execute("select count(*) from sample_hot_20260601")
        await drop_days(warehouse, tenant, start + 9 * DAY)
        assert "20260601" in days(partitions)
    await drop_days(warehouse, tenant, start + 9 * DAY)
    assert "20260601" not in days(partitions)


async def test_outlived_rows_end_for_their_own_tenant_alone(warehouse: Warehouse, tenant: str) -> None:
    other = await new_tenant(warehouse)
    for each in (tenant, other):
        async with warehouse.as_tenant(each) as db:
            await sessions.save(each, db, [report("old"), report("new", seconds=20 * 86_400)], NOON)
            await deliveries.put(each, db, samples.columns_of([Sample(UP, NOON, 1.0)]), NOON)
    now = report().time + 35 * DAY
    async with warehouse.as_tenant(tenant) as db:
        ended = await retention.end_outlived(tenant, db, now)
    none = {"sample": 0, "delivery": 0, "event": 0, "alert": 0, "data_quality": 0, "drift_check": 0}
    assert ended == none | {"session_report": 1}
    async with warehouse.as_tenant(tenant) as db:
        ended = await retention.end_outlived(tenant, db, NOON + 3 * DAY)
    assert ended["delivery"] == 1
    assert [await count(warehouse, other, table) for table in ("session_report", "delivery")] == [2, 1]


async def test_rows_of_features_end_with_the_sessions(warehouse: Warehouse, tenant: str) -> None:
    other = await new_tenant(warehouse)
    for each in (tenant, other):
        await furnish(warehouse, each)
    assert await end_features(tenant, warehouse, NOON) == 1
    assert [await count(warehouse, each, "feature_row") for each in (tenant, other)] == [0, 1]
    # What a model was taught with stays told, also when the rows themselves are gone.
    assert await count(warehouse, tenant, "training_set") == 1


async def windows(warehouse: Warehouse, tenant: str, count: int) -> None:
    """Rows of features that ended on the first of `count` days up to NOON."""
    times = np.array([microseconds(NOON - day * DAY) for day in range(count)])
    columns = features.FeatureColumns(
        ["edge:a"], np.zeros(count, np.int64), times, np.ones(count), np.ones((count, len(EDGE.names)))
    )
    async with warehouse.as_tenant(tenant) as db:
        await features.put_view(tenant, db, EDGE.stored, NOON)
        await features.put(tenant, db, EDGE.id, columns, NOON)


async def test_rows_of_features_end_in_portions_and_all_of_them(
    warehouse: Warehouse, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await windows(warehouse, tenant, 40)
    monkeypatch.setattr(retention, "AT_ONCE", 2)
    async with warehouse.as_tenant(tenant) as db:
        assert await retention.end_features(tenant, db, NOON - 30 * DAY) == 2
    assert await count(warehouse, tenant, "feature_row") == 38
    assert await end_features(tenant, warehouse, NOON) == 7
    assert await count(warehouse, tenant, "feature_row") == 31


async def test_outlived_rows_of_features_are_found_by_an_index(
    warehouse: Warehouse, tenant: str, database: Database
) -> None:
    await windows(warehouse, tenant, 2)
    query = "explain select from feature_row where tenant = %s and time < %s order by time limit 9"
    with psycopg.connect(database.admin_url) as connection:
        connection.execute("set local enable_sort = off")
        plan = "\n".join(line for (line,) in connection.execute(query, [tenant, NOON]).fetchall())
    assert "feature_row_outlived" in plan


async def test_a_tenant_says_how_long_its_sessions_are_kept(warehouse: Warehouse, tenant: str) -> None:
    async with warehouse.as_tenant(tenant) as db:
        await sessions.save(tenant, db, [report("old"), report("new", seconds=20 * 86_400)], NOON)
    now = report().time + 25 * DAY
    assert (await retain(tenant, warehouse, now)).ended["session_report"] == 0
    await Tenancy(warehouse).change(tenant, Change(set=("sessions_days=10",)), "ann", "no longer than needed")
    assert (await retain(tenant, warehouse, now)).ended["session_report"] == 1
    assert await count(warehouse, tenant, "session_report") == 1


async def test_without_a_tenant_nothing_ends(database: Database) -> None:
    with psycopg.connect(database.app_url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("select * from end_outlived(now(), now())")
    with psycopg.connect(database.app_url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("select end_outlived_features(now(), 1)")


async def test_whatever_a_clock_says_no_day_ends_that_is_hot(
    warehouse: Warehouse, tenant: str, partitions: psycopg.Connection
) -> None:
    today = datetime.now(UTC)
    await add(warehouse, tenant, (today, 1.0))
    with pytest.raises(WarehouseError, match="are hot"):
        await drop_days(warehouse, tenant, today + 400 * DAY)
    assert f"{today:%Y%m%d}" in days(partitions)


async def test_checks_end_after_a_season_and_what_was_breached_or_asked_for_stays(
    warehouse: Warehouse, tenant: str
) -> None:
    await furnish(warehouse, tenant)
    tables = ("drift_check", "drift_result", "data_quality", "data_breach", "retraining_request", "drift_acceptance")
    for days_later, left in ((89, 1), (91, 0)):
        now = START + timedelta(days=days_later)
        async with warehouse.as_tenant(tenant) as db:
            await retention.end_outlived(tenant, db, now)
        counted = [await count(warehouse, tenant, table) for table in tables]
        assert counted == [left, left, left, 1, 1, 1]


async def test_a_part_of_a_step_is_not_rolled_up(warehouse: Warehouse, tenant: str) -> None:
    async with warehouse.as_tenant(tenant) as db:
        with pytest.raises(WarehouseError, match="whole steps"):
            await rollups.make(tenant, db, NOON, NOON + timedelta(minutes=4))
