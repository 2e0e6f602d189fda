"""The flow `materialization`, in a process of its own under a Prefect server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Database, new_tenant
from tests.integration.features import at, settle, telemetry
from tests.integration.servers import flow_told
from warehouse import features
from warehouse.database import Warehouse

FLOW = """
import asyncio, json, sys
from datetime import datetime
from flows.materialization import materialization
print(json.dumps(asyncio.run(materialization(datetime.fromisoformat(sys.argv[1]))), default=str))
"""


@pytest.mark.timeout(300)
async def test_the_flow_makes_every_tenants_rows_under_a_prefect_server(
    warehouse: Warehouse, tenant: str, database: Database, prefect_api: str, tmp_path: Path
) -> None:
    other = await new_tenant(warehouse)
    for each in (tenant, other):
        await settle(warehouse, each, telemetry(0, 120))
    result = await flow_told(
        FLOW,
        at(120).isoformat(),
        database=database,
        prefect=prefect_api,
        folder=tmp_path,
    )
    made = {(each["tenant"], each["view"]): each["rows"] for each in result["views"]}
    assert made == {(tenant, "edge"): 33, (other, "edge"): 33}
    async with warehouse.as_tenant(tenant) as db:
        (view,) = await features.views(tenant, db, "edge")
        assert (await features.span(tenant, db, view.id)).rows == 33
