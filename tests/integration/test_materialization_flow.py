"""The flow `materialization`, in a process of its own with a Prefect server of its own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Database, new_tenant
from tests.integration.features import at, settle, telemetry
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
    warehouse: Warehouse, tenant: str, database: Database, tmp_path: Path
) -> None:
    other = await new_tenant(warehouse)
    for each in (tenant, other):
        await settle(warehouse, each, telemetry(0, 120))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TONEWATCH_", "PREFECT_"))}
    mine = {
        "TONEWATCH_DATABASE_URL": database.app_url,
        "TONEWATCH_DISPATCHER_DATABASE_URL": database.dispatcher_url,
        "PREFECT_HOME": str(tmp_path),
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    }
    told = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", FLOW, at(120).isoformat()],
        cwd=Path(__file__).resolve().parents[2],
        env=kept | mine,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert told.returncode == 0, told.stderr[-3000:]
    result = json.loads(told.stdout.splitlines()[-1])
    made = {(each["tenant"], each["view"]): each["rows"] for each in result["views"]}
    assert made == {(tenant, "edge"): 33, (other, "edge"): 33}
    async with warehouse.as_tenant(tenant) as db:
        (view,) = await features.views(tenant, db, "edge")
        assert (await features.span(tenant, db, view.id)).rows == 33
