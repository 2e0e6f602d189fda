"""The flow `drift` in a process of its own, under a Prefect server, with an MLflow."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from ml import drift_report, registry
from tests.conftest import Database
from tests.integration.drifting import NOW, furnish
from tests.integration.servers import Mlflow, flow_told
from tests.integration.test_drift import ONSET
from warehouse import drift
from warehouse.database import Warehouse

#: Three rounds, half a day to two days apart: the training is asked for once. What Prefect then holds is told last.
FLOW = """
import asyncio, json, sys
from datetime import datetime, timedelta
from prefect.client.orchestration import get_client
from flows.drift import watch
from flows.training import training

async def main(now):
    deployment = await training.ato_deployment("training")
    await deployment.aapply()
    told = [await watch(now + timedelta(seconds=each)) for each in (0, 180, 225)]
    async with get_client() as client:
        runs = [run for run in await client.read_flow_runs() if "drift" in run.tags]
        links = [each for each in await client.read_artifacts() if each.type == "markdown" or "](" in str(each.data)]
    print(json.dumps({
        "verdicts": [[row["verdict"] for row in each["checks"] if row["tenant"] == sys.argv[2]] for each in told],
        "runs": [[str(run.id), run.parameters] for run in runs if run.parameters["tenant"] == sys.argv[2]],
        "links": [str(each.data) for each in links if each.key == f"drift-{sys.argv[2]}-edge"],
    }))

asyncio.run(main(datetime.fromisoformat(sys.argv[1])))
"""


@pytest.mark.timeout(300)
@pytest.mark.skipif(not drift_report.installed(), reason="Evidently is not installed (make learning)")
async def test_a_drift_has_pictures_a_link_and_one_retraining(
    warehouse: Warehouse,
    tenant: str,
    database: Database,
    prefect_api: str,
    mlflow: Mlflow,
    tmp_path: Path,
) -> None:
    await furnish(warehouse, tenant, days=36, until=NOW.replace(minute=6), shift=0.05, since=ONSET)
    found = await flow_told(
        FLOW,
        NOW.isoformat(),
        tenant,
        database=database,
        prefect=prefect_api,
        folder=tmp_path / "prefect",
        TONEWATCH_MLFLOW_TRACKING_URI=mlflow.url,
        TONEWATCH_STATE_DIR=str(tmp_path / "state"),
    )
    assert [verdicts[0] for verdicts in found["verdicts"]] == ["drift", "drift", "drift"]
    ((run, parameters),) = found["runs"]
    assert parameters["families"] == ["edge"]
    assert datetime.fromisoformat(parameters["as_of"]) == NOW + timedelta(seconds=180)
    async with warehouse.as_tenant(tenant) as db:
        (asked,) = await drift.requests(tenant, db)
        (report,) = await drift.reports(tenant, db, "edge", ONSET)
    assert asked.flow_run == run
    (link,) = found["links"]
    assert report in link
    files = registry.MlflowClient(mlflow.url).list_artifacts(report, "drift")
    assert [file.path for file in files] == ["drift/drift.html"]
