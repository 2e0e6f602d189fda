"""The flow `maintenance`, in a process of its own under a Prefect server.

And with a database of its own: tenants of other tests stand at other times of year, and half a year of half-hours takes
minutes to go through.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from flows.maintenance import keep_house
from tests.conftest import Database, new_tenant
from tests.integration.furnished import furnish, report
from tests.integration.servers import flow_told
from tests.integration.test_retention import add, count, days
from tonewatch.settings import Settings
from warehouse import sessions
from warehouse.database import Warehouse

pytestmark = pytest.mark.integration
DAY = timedelta(days=1)

FLOW = """
import asyncio, json, sys
from datetime import datetime
from flows.maintenance import maintenance
print(json.dumps(asyncio.run(maintenance(datetime.fromisoformat(sys.argv[1])))))
"""


async def test_the_flow_serves_every_tenant(
    warehouse: Warehouse, tenant: str, database: Database, prefect_api: str, tmp_path: Path
) -> None:
    other = await new_tenant(warehouse)
    start = datetime(2026, 7, 1, tzinfo=UTC)
    for each in (tenant, other):
        await add(warehouse, each, (start, 1.0))
    result = await flow_told(
        FLOW,
        (start + 4 * DAY).isoformat(),
        database=database,
        prefect=prefect_api,
        folder=tmp_path,
    )
    done = {each["tenant"]: each["rolled_up"] for each in result["tenants"]}
    assert (done[tenant], done[other]) == (1, 1)
    assert result["days_dropped"] >= 1
    with psycopg.connect(database.admin_url, autocommit=True) as connection:
        assert "20260701" not in days(connection)
    assert [await count(warehouse, each, "sample") for each in (tenant, other)] == [0, 0]


async def test_rows_of_features_that_cannot_end_keep_nothing_else_from_ending(
    warehouse: Warehouse, tenant: str, database: Database, tmp_path: Path
) -> None:
    now = datetime(2026, 7, 6, tzinfo=UTC)  # near the other test's time: days in between would all be rolled up
    await furnish(warehouse, tenant)
    await add(warehouse, tenant, (now - 4 * DAY, 1.0))
    async with warehouse.as_tenant(tenant) as db:
        await sessions.save(tenant, db, [report("old")], now)
    stuck = f"create trigger stuck before delete on feature_row for each row when (old.tenant = '{tenant}')"
    with psycopg.connect(database.admin_url, autocommit=True) as connection:
        connection.execute(f"{stuck} execute function refuse_change()")
        try:
            kept = await keep_house(warehouse, now, Settings(state_dir=tmp_path))
        finally:
            connection.execute("drop trigger stuck on feature_row")
        assert "20260702" not in days(connection)
    assert "feature_row is append-only" in kept.failed[tenant]
    assert tenant in {each.tenant for each in kept.done}
    assert kept.dropped >= 1
    assert [await count(warehouse, tenant, table) for table in ("session_report", "feature_row")] == [0, 1]
    again = await keep_house(warehouse, now, Settings(state_dir=tmp_path))
    assert again.features[tenant] == 1
    assert again.failed == {}
