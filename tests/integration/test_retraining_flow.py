"""The flow `retraining` in a process of its own, under a Prefect server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import BEGINNING, Database
from tests.integration.servers import flow_told
from tests.integration.test_retrain import OLD, TRAINED, trained
from tonewatch.records import Entity
from warehouse import drift, entities, tenants
from warehouse.database import Warehouse

#: Two rounds: the training is asked for once. What Prefect then holds is told last.
FLOW = """
import asyncio, json, sys
from datetime import datetime, timedelta
from prefect.client.orchestration import get_client
from flows.retraining import retraining
from flows.training import training

async def main(now):
    deployment = await training.ato_deployment("training")
    await deployment.aapply()
    told = [await retraining(now), await retraining(now + timedelta(hours=1))]
    async with get_client() as client:
        runs = [run for run in await client.read_flow_runs() if "schedule" in run.tags]
        tables = [json.loads(each.data) for each in await client.read_artifacts() if each.key == "retraining"]
    print(json.dumps({
        "asked": [each["asked"] for each in told],
        "runs": [[str(run.id), sorted(run.tags), run.parameters] for run in runs],
        "tables": tables,
    }))

asyncio.run(main(datetime.fromisoformat(sys.argv[1])))
"""


@pytest.mark.timeout(300)
async def test_an_old_model_is_one_run_of_prefect_that_says_why(
    warehouse: Warehouse, database: Database, prefect_api: str, tmp_path: Path
) -> None:
    name = "nightly"
    async with warehouse.as_tenant(name) as db:
        await tenants.add(name, db, name=name, profile="platform", at=BEGINNING)
        await entities.save(name, db, [Entity("edge:edge-1", "edge")], BEGINNING)
    await trained(warehouse, name, "1", TRAINED)
    found = await flow_told(FLOW, OLD.isoformat(), database=database, prefect=prefect_api, folder=tmp_path / "prefect")
    ((run, tags, parameters),) = found["runs"]
    assert tags == [name, "schedule"]
    assert (parameters["tenant"], parameters["families"], parameters["why"]) == (name, None, ["schedule"])
    assert found["asked"] == [[f"{name} all: schedule"], []]
    assert sorted(
        [row["by"], row["asks"]] for table in found["tables"] for row in table if row["tenant"] == name
    ) == sorted([["labels", False], ["labels", False], ["schedule", True], ["schedule", False]])
    async with warehouse.as_tenant(name) as db:
        (asked,) = await drift.requests(name, db)
    assert (asked.flow_run, asked.why) == (run, "schedule")
