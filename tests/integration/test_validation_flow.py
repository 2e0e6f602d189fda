"""The flow `validation` on a real PostgreSQL, MLflow and Prefect: a better challenger becomes champion, once."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from ml import registry, versions
from tasks.shadow import found_within, piece_of
from tests.conftest import Database, new_tenant
from tests.integration.promoting import rows_of_calm, training_of
from tests.integration.servers import Mlflow, flow_told
from tests.unit.transcoders import NOON, PARTS, at, forest, telemetry
from tonewatch.records import Entity
from tonewatch.settings import load_profile
from warehouse import audit, calibrations, entities, samples, validations
from warehouse.calibrations import Calibrated, Source
from warehouse.database import Warehouse

PIECES = 60
PROFILE = load_profile("demo")
PIECE = int(piece_of(PROFILE).total_seconds())
#: Several runs in one process: each starts seconds faster. Arguments: tenant, challenger (-: the registry's), then URI
#: and moment of each.
FLOW = """
import asyncio, json, os, sys
from datetime import datetime
from flows.validation import validation
from tonewatch.errors import ModelError
tenant, challenger, *asked = sys.argv[1:]
told = []
for uri, moment in zip(asked[::2], asked[1::2]):
    os.environ["TONEWATCH_MLFLOW_TRACKING_URI"] = uri
    try:
        named = {"transcode": challenger} if challenger != "-" else None
        asked_of = validation([tenant], named, datetime.fromisoformat(moment), 60)
        told += asyncio.run(asked_of)
    except ModelError as error:
        told.append({"failed": str(error)})
print(json.dumps(told))
"""


def registered(uri: str, tenant: str) -> str:
    return registry.register(uri, "transcode", forest(), training_of(tenant, 0.999), rows_of_calm())


@pytest.mark.timeout(600)
async def test_a_better_challenger_is_promoted_and_a_registry_that_is_away_changes_nothing(
    warehouse: Warehouse, tenant: str, database: Database, prefect_api: str, mlflow: Mlflow, tmp_path: Path
) -> None:
    deaf, good = [await asyncio.to_thread(registered, mlflow.url, tenant) for _ in range(2)]
    await asyncio.to_thread(registry.promote, mlflow.url, "transcode", deaf)
    own = Calibrated("transcode", good, NOON, 0.7, 0.6, 0.8, 0.69, 0.01, "seen", Source.TRAINING, "calm")
    async with warehouse.as_tenant(tenant) as db:
        await entities.save(tenant, db, [Entity(part, "transcode") for part in PARTS], at(-86_400))
        await samples.append(tenant, db, telemetry(-360, PIECES * PIECE + 600))
        await calibrations.put(tenant, db, [own])
    early, late = (moment(pieces).isoformat() for pieces in (2, PIECES))
    away = "http://127.0.0.1:9"
    asked = (away, early, mlflow.url, early, away, late, mlflow.url, late, mlflow.url, late)
    told = await flow_told(FLOW, tenant, good, *asked, database=database, prefect=prefect_api, folder=tmp_path)
    nothing, first, broken, last, again = told
    assert all("were not read" in each["failed"] for each in (nothing, broken))
    assert (first["answer"], first["final"], first["pieces"]) == ("inconclusive", False, 2)
    assert (last["answer"], last["final"], last["pieces"]) == ("better", True, PIECES - 2), last["reasons"]
    assert "it is the champion already" in again["failed"]
    assert last["promoted"] == "yes"
    assert registry.champion_versions(mlflow.url)["transcode"] == good
    async with warehouse.as_tenant(tenant) as db:
        (kept,) = await validations.listed(tenant, db)
        lines = [line for line in await audit.read(tenant, db, 10) if line.what == "model.promote"]
    assert (kept.champion, kept.challenger, kept.promoted) == (deaf, good, moment(PIECES))
    assert [line.after for line in lines] == [{"champion": good, "validation": kept.id}]


@pytest.mark.timeout(600)
async def test_a_challenger_that_is_shown_to_be_worse_waits_no_longer(
    warehouse: Warehouse, tenant: str, database: Database, prefect_api: str, mlflow: Mlflow, tmp_path: Path
) -> None:
    good, deaf = [await asyncio.to_thread(registered, mlflow.url, tenant) for _ in range(2)]
    await asyncio.to_thread(registry.promote, mlflow.url, "transcode", good)
    await asyncio.to_thread(versions.challenge, mlflow.url, "transcode", deaf)
    own = [
        Calibrated("transcode", version, NOON, threshold, 0.6, 0.8, 0.69, 0.01, "seen", Source.TRAINING, "calm")
        for version, threshold in ((good, 0.7), (deaf, 0.999))
    ]
    async with warehouse.as_tenant(tenant) as db:
        await entities.save(tenant, db, [Entity(part, "transcode") for part in PARTS], at(-86_400))
        await samples.append(tenant, db, telemetry(-360, PIECES * PIECE + 600))
        await calibrations.put(tenant, db, own)
    asked = (mlflow.url, moment(1).isoformat())
    other = await new_tenant(warehouse)
    nothing = await flow_told(
        FLOW, other, "-", *asked, database=database, prefect=prefect_api, folder=tmp_path / "other"
    )
    assert nothing == [], "what a tenant's calm was not calibrated for waits, and no run fails for it"
    asked = (mlflow.url, moment(PIECES).isoformat())
    (told,) = await flow_told(FLOW, tenant, deaf, *asked, database=database, prefect=prefect_api, folder=tmp_path)
    assert (told["answer"], told["final"]) == ("worse", True), told
    assert registry.champion_versions(mlflow.url)["transcode"] == good
    assert registry.challenger_versions(mlflow.url).get("transcode") != deaf
    assert versions.one(mlflow.url, "transcode", deaf).tags[versions.VALIDATION].startswith("worse: ")


def moment(pieces: int) -> datetime:
    return NOON + pieces * timedelta(seconds=PIECE) + found_within(PROFILE)
