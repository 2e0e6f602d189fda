"""The flow `backtest` over samples in a real PostgreSQL, in a process of its own under a Prefect server."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tests.conftest import Database
from tests.integration.servers import flow_told
from tests.integration.test_training import PARTS, START, telemetry
from tonewatch.records import Entity, Sample, Series
from tonewatch.settings import load_profile
from warehouse import entities, incidents, samples
from warehouse.database import Warehouse

pytestmark = pytest.mark.integration
SECONDS = 240
FLOW = """
import asyncio, json, sys
from datetime import datetime
from flows.backtest import backtest
print(json.dumps(asyncio.run(backtest(sys.argv[1], *map(datetime.fromisoformat, sys.argv[2:])))))
"""


@pytest.mark.timeout(300)
async def test_the_past_is_told_by_the_rules_of_today_and_nothing_else_changes(
    warehouse: Warehouse, tenant: str, database: Database, prefect_api: str, tmp_path: Path
) -> None:
    begin, end = START - timedelta(hours=1), START + timedelta(seconds=SECONDS)
    down = Series(PARTS[0], "up")
    failed = [Sample(down, START + timedelta(seconds=second), 0.0) for second in range(200, SECONDS)]
    answered = [
        each for each in telemetry(0, SECONDS, seed=1) if not (each.series == down and each.time >= failed[0].time)
    ]
    async with warehouse.as_tenant(tenant) as db:
        await entities.save(tenant, db, [Entity(part, "transcode") for part in PARTS], START)
        await samples.append(tenant, db, [*answered, *failed])
    figures = await flow_told(
        FLOW,
        tenant,
        begin.isoformat(),
        end.isoformat(),
        database=database,
        prefect=prefect_api,
        folder=tmp_path,
    )
    assert (figures["pages"], figures["findings_rule"]) == (1.0, 1.0)
    assert figures["samples"] == len(answered) + len(failed)
    assert figures["models"].keys() == {"course", "series-ensemble"}, "no family has a model; single series need none"
    budget = load_profile("demo").budget
    there = budget.pages_per_week * (SECONDS - 1) / budget.week_seconds
    assert figures["pages_allowed"] == pytest.approx(there), "of what the warehouse holds, not of what was asked for"
    async with warehouse.as_tenant(tenant) as db:
        assert await incidents.active(tenant, db) == []
