"""The flow `promotion` under a Prefect server: a run that waits for an answer holds no process; either way ends it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from ml import registry
from tests.conftest import Database, new_tenant
from tests.integration.promoting import asks, better, forget_aliases, unreadable, version
from tests.integration.servers import Mlflow, flow_told
from warehouse import audit, promotions
from warehouse.database import Warehouse

FAMILY = "transcode"
#: Arguments: all tenants, the first of which answers, and how: in Prefect, or on the command line while Prefect waits.
FLOW = """
import asyncio, json, sys
from contextlib import suppress
from prefect.exceptions import Pause
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow_async
from prefect.flow_runs import aresume_flow_run
from flows.promotion import promotion
from tonewatch.clock import SYSTEM
from tonewatch.settings import read
from warehouse.answers import Answer, answer
from warehouse.database import Warehouse
from warehouse.promotions import listed
whose, way = sys.argv[1].split(","), sys.argv[2]
tenant = whose[0]

async def main():
    deployment = await promotion.ato_deployment("promotion")
    await deployment.aapply()
    first = await promotion(whose)
    async with get_client() as client:
        runs = [run for run in await client.read_flow_runs() if "approval" in run.tags]
        (asked,) = [run for run in runs if tenant in run.tags]
        with suppress(Pause):  # which a worker's process ends by
            await run_flow_async(flow=promotion, flow_run=asked, parameters=asked.parameters, return_type="state")
        waiting = await client.read_flow_run(asked.id)
        if way != "elsewhere":
            await aresume_flow_run(asked.id, run_input={"approve": True, "who": "ann", "reason": "finds more"})
            again = await client.read_flow_run(asked.id)
            await run_flow_async(flow=promotion, flow_run=again, parameters=again.parameters, return_type="state")
        else:
            warehouse = Warehouse.from_settings(read())
            async with warehouse.as_tenant(tenant) as db:
                (row,) = await listed(tenant, db)
            await answer(tenant, warehouse, Answer(row.id, False, "bob", "not now"), SYSTEM.now())
            await warehouse.close()
        last = await promotion(whose)
        over = await client.read_flow_run(asked.id)
        tables = [[each.description, each.data] for each in await client.read_artifacts()]
        typed = await client.filter_flow_run_input(asked.id, "suspended-answer-response", 1, set())
    print(json.dumps({
        "tables": tables, "typed": len(typed),
        "first": first, "waiting": waiting.state_name, "last": last, "over": [over.state_name, over.state.message],
    }))

asyncio.run(main())
"""
#: A person types what is no name, twice, and answers while the warehouse is away.
LOST = """
import asyncio, json, os, sys
from contextlib import suppress
from prefect.exceptions import Pause
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow_async
from prefect.flow_runs import aresume_flow_run
from flows.promotion import promotion
tenant, url = sys.argv[1], "TONEWATCH_DATABASE_URL"

async def begun(client, run):
    run = await client.read_flow_run(run)
    with suppress(Pause):  # which a worker's process ends by
        await run_flow_async(flow=promotion, flow_run=run, parameters=run.parameters, return_type="state")
    return (await client.read_flow_run(run.id)).state_name

async def asking(client):
    return [run.id for run in await client.read_flow_runs() if {"approval", tenant} <= set(run.tags)]

async def typed(run, who):
    try:
        await aresume_flow_run(run, run_input={"approve": True, "who": who, "reason": "finds more"})
    except Exception as error:
        return type(error).__name__
    return "taken"

async def main():
    told = []
    deployment = await promotion.ato_deployment("promotion")
    await deployment.aapply()
    await promotion([tenant])
    async with get_client() as client:
        (first,) = await asking(client)
        told += [await begun(client, first), await typed(first, ""), (await client.read_flow_run(first)).state_name]
        told += [await typed(first, "no\\nname"), await begun(client, first)]
        (second,) = set(await asking(client)) - {first}
        told += [await begun(client, second)]
        there, os.environ[url] = os.environ[url], "postgresql+psycopg://nobody@127.0.0.1:9/nothing"
        told += [await typed(second, "ann"), await begun(client, second)]
        os.environ[url] = there
        last = await promotion([tenant])
        told += [len(await asking(client)), last[0]["promoted"]]
    print(json.dumps(told))

asyncio.run(main())
"""
#: As Prefect runs them: the promotions, then the validations.
ALL = """
import asyncio, json, sys
from flows.promotion import promotion
from flows.validation import validation
from tonewatch.errors import ModelError

async def main():
    told = []
    for flow in (promotion, validation):
        try:
            told.append(await flow())
        except ModelError as error:
            told.append(str(error))
    print(json.dumps(told))

asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def clean(mlflow: Mlflow) -> None:
    """No champion of the family, whatever other tests have left."""
    forget_aliases(mlflow.url, FAMILY)


async def waiting(warehouse: Warehouse, tenant: str, mlflow: Mlflow) -> tuple[str, str]:
    """A champion, and a version that was shown to be better and that the tenant is to be asked about."""
    first, second = [await asyncio.to_thread(version, mlflow.url, tenant, FAMILY, seed) for seed in (1, 2)]
    await asyncio.to_thread(registry.promote, mlflow.url, FAMILY, first)
    await asks(warehouse, tenant)
    await better(warehouse, [tenant], FAMILY, first, second)
    return first, second


@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", ["prefect", "elsewhere"])
async def test_a_run_of_prefect_waits_for_the_answer_and_is_told_of_one_that_was_given_elsewhere(
    warehouse: Warehouse, tenant: str, database: Database, prefect_api: str, mlflow: Mlflow, tmp_path: Path, way: str
) -> None:
    family = FAMILY
    first, second = await waiting(warehouse, tenant, mlflow)
    told = await flow_told(
        FLOW,
        tenant,
        way,
        database=database,
        prefect=prefect_api,
        folder=tmp_path,
        TONEWATCH_TENANT=tenant,
        TONEWATCH_MLFLOW_TRACKING_URI=mlflow.url,
    )
    assert "waits for an answer" in told["first"][0]["promoted"]
    assert told["waiting"] == "Suspended"
    async with warehouse.as_tenant(tenant) as db:
        (row,) = await promotions.listed(tenant, db)
        lines = [(line.what, line.who) for line in await audit.read(tenant, db, 10)][::-1]
    if way == "prefect":
        assert (told["over"][0], told["last"]) == ("Completed", [])
        assert (row.state, row.answered_by) == ("probation", "ann")
        assert lines == [("model.approve", "ann"), ("model.promote", "validation")]
        assert registry.champion_versions(mlflow.url)[family] == second
    else:
        assert told["over"] == ["Cancelled", f"rejected: promotion {row.id}"]
        assert told["last"][0]["promoted"] == "no: a person said no"
        assert row.told == "bob said no: not now"
        assert (row.state, lines) == ("refused", [("model.reject", "bob"), ("model.refused", "validation")])
        assert registry.champion_versions(mlflow.url)[family] == first
    assert told["typed"] == 0, "what a person typed stays in Prefect"
    assert not any(word in json.dumps(told["tables"]) for word in ("ann", "bob", "finds more", "not now"))


@pytest.mark.timeout(300)
async def test_what_is_no_answer_is_asked_anew_and_an_answer_is_kept_though_its_run_fails(
    warehouse: Warehouse, tenant: str, database: Database, prefect_api: str, mlflow: Mlflow, tmp_path: Path
) -> None:
    await waiting(warehouse, tenant, mlflow)
    told = await flow_told(
        LOST,
        tenant,
        database=database,
        prefect=prefect_api,
        folder=tmp_path,
        TONEWATCH_TENANT=tenant,
        TONEWATCH_MLFLOW_TRACKING_URI=mlflow.url,
    )
    suspended, refused, still, taken, ended, again, answered, failed, runs, last = told
    assert (suspended, refused != "taken", still) == ("Suspended", True, "Suspended"), "the form takes an empty name"
    assert (taken, ended, again) == ("taken", "Completed", "Suspended"), "nobody is asked any more"
    assert (answered, failed, runs, last) == ("taken", "Failed", 2, "yes"), "the answer is lost"
    async with warehouse.as_tenant(tenant) as db:
        (row,) = await promotions.listed(tenant, db)
        lines = [(line.what, line.who, line.reason) for line in await audit.read(tenant, db, 10)][::-1]
    assert (row.state, row.answered_by) == ("probation", "ann")
    assert lines[0] == ("model.approve", "ann", "finds more")


@pytest.mark.timeout(300)
async def test_the_yes_of_one_tenant_in_prefect_waits_for_that_of_the_others(
    warehouse: Warehouse, tenant: str, database: Database, prefect_api: str, mlflow: Mlflow, tmp_path: Path
) -> None:
    family = FAMILY
    whose = [tenant, await new_tenant(warehouse)]
    first, second = [await asyncio.to_thread(version, mlflow.url, tenant, family, seed) for seed in (1, 2)]
    await asyncio.to_thread(registry.promote, mlflow.url, family, first)
    for each in whose:
        await asks(warehouse, each)
    await better(warehouse, whose, family, first, second)
    told = await flow_told(
        FLOW,
        ",".join(whose),
        "one of two in prefect",
        database=database,
        prefect=prefect_api,
        folder=tmp_path,
        TONEWATCH_TENANT=tenant,
        TONEWATCH_MLFLOW_TRACKING_URI=mlflow.url,
    )
    assert told["over"][0] == "Completed"
    assert "waits for an answer" in told["last"][0]["promoted"]
    states = []
    for each in whose:
        async with warehouse.as_tenant(each) as db:
            states += [row.state for row in await promotions.listed(each, db)]
    assert states == ["approved", "waiting"]
    assert registry.champion_versions(mlflow.url)[family] == first


@pytest.mark.timeout(300)
async def test_promotions_by_schedule_and_by_hand_move_nothing_while_a_tenant_waits_whose_settings_cannot_be_read(
    warehouse: Warehouse, tenant: str, database: Database, prefect_api: str, mlflow: Mlflow, tmp_path: Path
) -> None:
    whose = [tenant, await new_tenant(warehouse)]
    first, second = [await asyncio.to_thread(version, mlflow.url, tenant, FAMILY, seed) for seed in (1, 2)]
    await asyncio.to_thread(registry.promote, mlflow.url, FAMILY, first)
    await asks(warehouse, whose[1])
    made = await better(warehouse, whose, FAMILY, first, second)

    async def told() -> list[str]:
        return [
            json.dumps(each)
            for each in await flow_told(
                ALL,
                database=database,
                prefect=prefect_api,
                folder=tmp_path,
                TONEWATCH_TENANT=tenant,
                TONEWATCH_MLFLOW_TRACKING_URI=mlflow.url,
            )
        ]

    by_hand, _ = await told()
    assert f'"{made.id}", "promoted": "waits for an answer' in by_hand
    await unreadable(warehouse, whose[1])
    assert all(f"the settings of {whose[1]} cannot be read" in each for each in await told())
    assert registry.champion_versions(mlflow.url)[FAMILY] == first
    states = []
    for each in whose:
        async with warehouse.as_tenant(each) as db:
            states += [row.state for row in await promotions.listed(each, db)]
    assert states == ["approved", "waiting"]
    await asks(warehouse, whose[1])  # so that no other run of this file fails
