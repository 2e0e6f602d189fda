"""From a drift to a challenger beside the champion, with nobody there: the joints between the flows."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from ml import versions
from tests.conftest import Database
from tests.integration.servers import Mlflow, flow_told
from tests.integration.test_training import DAY, PARTS, START, telemetry
from tonewatch.records import Entity
from warehouse import calibrations, drift, entities, samples
from warehouse.database import Warehouse

#: Days of the platform: it is calm until the change, the models are from before it, and drift looks twice after it.
CHANGED, FIRST_LOOK, SECOND_LOOK = 10, 11.5, 13.75
#: Trained, looked at, and what drift asked Prefect for carried out as a worker would; then a look at both in shadow.
FLOW = """
import asyncio, json, sys
from datetime import datetime, timedelta
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from flows.drift import watch
from flows.materialization import materialization
from flows.training import training
from flows.validation import validation

async def main(tenant, changed, *looks):
    await training(tenant=tenant, families=["transcode"], as_of=changed)
    await (await training.ato_deployment("training")).aapply()
    for look in looks:
        await materialization(as_of=look)
        await watch(as_of=look)
    async with get_client() as client:
        (asked,) = [run for run in await client.read_flow_runs() if "drift" in run.tags]
        state = await run_flow(training, flow_run=asked, return_type="state")
    (judged,) = await validation(tenants=[tenant], as_of=looks[-1] + timedelta(seconds=60))
    told = {"run": str(asked.id), "parameters": asked.parameters, "state": state.name, "judged": judged}
    print(json.dumps(told, default=str))

tenant, *moments = sys.argv[1:]
asyncio.run(main(tenant, *map(datetime.fromisoformat, moments)))
"""


def day(number: float) -> datetime:
    return START + timedelta(seconds=number * DAY)


@pytest.mark.timeout(600)  # it starts an MLflow and a Prefect, which takes minutes on a busy machine
async def test_a_drift_leads_to_a_challenger_that_learned_what_is_new_and_is_judged_beside_the_champion(
    warehouse: Warehouse, tenant: str, database: Database, prefect_api: str, own_mlflow: Mlflow, tmp_path: Path
) -> None:
    told = telemetry(0, int(SECOND_LOOK * DAY) + 700, seed=1, slow_from=CHANGED * DAY)
    async with warehouse.as_tenant(tenant) as db:
        await entities.save(tenant, db, [Entity(part, "transcode") for part in PARTS], START)
        await samples.append(tenant, db, told)
    moments = [day(each) for each in (CHANGED, FIRST_LOOK, SECOND_LOOK)]
    found = await flow_told(
        FLOW,
        tenant,
        *(each.isoformat() for each in moments),
        database=database,
        prefect=prefect_api,
        folder=tmp_path / "prefect",
        TONEWATCH_MLFLOW_TRACKING_URI=own_mlflow.url,
        TONEWATCH_STATE_DIR=str(tmp_path / "state"),
    )
    assert found["state"] == "Completed"
    async with warehouse.as_tenant(tenant) as db:
        asked = [each for each in await drift.requests(tenant, db, "transcode") if each.delivered]
        made = {each.version: each.made for each in await calibrations.newest(tenant, db)}
    assert [(each.asked, each.flow_run) for each in asked] == [(moments[1], found["run"])]
    assert datetime.fromisoformat(found["parameters"]["as_of"]) == moments[2]
    newer, older = versions.listed(own_mlflow.url, "transcode")
    assert (older.judges, "challenger" in newer.aliases) == (True, True), newer.tags
    assert [datetime.fromisoformat(each.tags["data_end"]) for each in (older, newer)] == [moments[0], moments[2]]
    assert (made[older.version], made[newer.version]) == (moments[0], moments[2]), "as old as what it was learned from"
    judged = found["judged"]
    assert (judged["champion"], judged["challenger"]) == (older.version, newer.version)
    assert (judged["answer"], judged["final"]) == ("inconclusive", False)
