"""Two tenants of one registry, on a real PostgreSQL, MLflow and Prefect: either is judged by what the other trained."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from ml import registry
from tasks.fetch import Bench
from tests.conftest import Database, new_tenant
from tests.integration.servers import Mlflow, flow_told
from tests.integration.test_training import DAY, PARTS, START, telemetry
from tonewatch.records import Entity
from warehouse import audit, calibrations, entities, samples, tenants, validations
from warehouse.calibrations import Source
from warehouse.database import Warehouse

FAMILY = "transcode"
#: Arguments: when all are trained, those who are, and when it is looked at both models, twice.
FLOW = """
import asyncio, json, sys
from datetime import datetime
from flows.probation import probation
from flows.training import training
from flows.validation import validation
from tonewatch.errors import ModelError
moment, trained, *looks = sys.argv[1:]

async def main():
    for tenant in trained.split(","):
        await training(tenant=tenant, families=["transcode"], as_of=datetime.fromisoformat(moment))
    told = []
    for look in looks:
        for flow in (validation, probation):
            try:
                told.append(await flow(as_of=datetime.fromisoformat(look)))
            except ModelError as error:
                told.append(str(error))
    print(json.dumps(told, default=str))

asyncio.run(main())
"""
TABLES = ("calibration", "audit", "validation", "validation_verdict", "validation_observation", "promotion", "question")


def day(number: float) -> datetime:
    return START + timedelta(seconds=number * DAY)


async def watched(warehouse: Warehouse, seed: int, profile: str = "demo") -> str:
    """A tenant with two transcoders and their telemetry of days; gives its name."""
    name = await new_tenant(warehouse)
    async with warehouse.as_tenant(name) as db:
        await entities.save(name, db, [Entity(part, FAMILY) for part in PARTS], START)
        await samples.append(name, db, telemetry(0, 8 * DAY, seed=seed))
        await tenants.watch_by(name, db, profile)
    return name


@pytest.mark.timeout(600)  # it starts an MLflow and a Prefect, which takes minutes on a busy machine
async def test_a_tenant_gets_the_champion_by_itself_and_both_judge_what_either_trained(
    warehouse: Warehouse, database: Database, prefect_api: str, own_mlflow: Mlflow, tmp_path: Path
) -> None:
    one, other, late = [await watched(warehouse, seed) for seed in (1, 2, 3)]
    light = await watched(warehouse, 4, "station")
    broken = await watched(warehouse, 5, "no-longer-there")
    looks = await flow_told(
        FLOW,
        day(2).isoformat(),
        f"{one},{other}",
        day(5).isoformat(),
        day(7).isoformat(),
        database=database,
        prefect=prefect_api,
        folder=tmp_path / "prefect",
        TONEWATCH_TENANT=one,
        TONEWATCH_MLFLOW_TRACKING_URI=own_mlflow.url,
        TONEWATCH_STATE_DIR=str(tmp_path / "state"),
    )
    assert all(told.startswith(f"{broken}: ") and "no-longer-there" in told for told in looks)
    champion = (await asyncio.to_thread(registry.champion_versions, own_mlflow.url))[FAMILY]
    challenger = (await asyncio.to_thread(registry.challenger_versions, own_mlflow.url))[FAMILY]
    plans, sources = [], {}
    for tenant in (one, other, late):
        async with warehouse.as_tenant(tenant) as db:
            mine = await calibrations.newest(tenant, db)
            (kept,) = await validations.listed(tenant, db)
            assert kept.started == day(5), "no one is judged on what a threshold was set on"
            looked = await validations.newest(tenant, db, kept.id)
            seen = await validations.observed(tenant, db, kept.id)
            told = [line.subject for line in await audit.read(tenant, db, 20) if line.what == "calibration.adopt"]
        bench = await asyncio.to_thread(Bench(tenant, own_mlflow.url).champions, mine)
        assert bench[FAMILY].version == champion
        assert bench[FAMILY].threshold < 1
        sources[tenant] = {each.version: each.source for each in mine if each.family == FAMILY}
        adopted = [version for version, source in sources[tenant].items() if source is Source.CALM]
        assert sorted(told) == sorted(calibrations.model_version(FAMILY, each) for each in adopted)
        assert looked is not None
        assert {each.kind for each in seen} >= {"calm", "cost"}
        plans.append((kept.id, kept.champion, kept.challenger, len(kept.plan["tenants"])))
    assert plans == [(plans[0][0], champion, challenger, 3)] * 3
    assert sources[one] == {champion: Source.TRAINING, challenger: Source.CALM}
    assert sources[other] == {champion: Source.CALM, challenger: Source.TRAINING}
    assert sources[late] == {champion: Source.CALM, challenger: Source.CALM}
    everyone = (one, other, late, light, broken)
    for tenant in everyone:
        async with warehouse.as_tenant(tenant) as db:
            rows = [
                row for table in TABLES for row in (await db.execute(text(f"select t::text from {table} t"))).scalars()
            ]
        assert not [row for row in rows for name in everyone if name != tenant and name in row]
        if tenant in (light, broken):
            assert not [row for row in rows if FAMILY in row]
