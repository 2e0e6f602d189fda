"""Thresholds for what another tenant trained, set once by the own calm: on a real PostgreSQL and a real MLflow."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from flows.validation import strange, unasked
from ml import registry
from tasks.adopt import adopt
from tasks.validate import begin, id_of, plan_for, written
from tests.conftest import new_tenant
from tests.integration.furnished import incident
from tests.integration.promoting import asks, version
from tests.integration.servers import Mlflow
from tests.unit.transcoders import NOON, PARTS, at, telemetry
from tonewatch.records import Entity, IncidentState
from tonewatch.settings import load_profile
from warehouse import audit, calibrations, entities, incidents, samples, tenants
from warehouse.calibrations import Calibrated, Source
from warehouse.database import Warehouse
from warehouse.validations import Validation

pytestmark = pytest.mark.timeout(300)
FAMILY = "transcode"
#: Two of its days, after which it is asked.
DAYS = int(2 * load_profile("demo").day_seconds)
NOW = at(DAYS)


@pytest.fixture
async def other(warehouse: Warehouse) -> str:
    """A tenant with two calm days, which has trained nothing."""
    name = await new_tenant(warehouse)
    async with warehouse.as_tenant(name) as db:
        await entities.save(name, db, [Entity(part, FAMILY) for part in PARTS], NOON)
        await samples.append(name, db, telemetry(0, DAYS))
    return name


async def rows(warehouse: Warehouse, tenant: str) -> list[Calibrated]:
    async with warehouse.as_tenant(tenant) as db:
        return await calibrations.newest(tenant, db)


async def test_a_threshold_is_set_once_and_a_model_that_fails_keeps_no_other_from_its_own(
    warehouse: Warehouse, tenant: str, other: str, mlflow: Mlflow, caplog: pytest.LogCaptureFixture
) -> None:
    brittle, good = [
        await asyncio.to_thread(version, mlflow.url, tenant, FAMILY, seed, brittle=seed == 1) for seed in (1, 2)
    ]
    held = [(FAMILY, brittle), (FAMILY, good), ("edge", "1")]
    assert await adopt(other, warehouse, mlflow.url, held, NOW - timedelta(seconds=1)) == [], "it is not known so long"
    (made,) = await adopt(other, warehouse, mlflow.url, held, NOW)
    assert (made.version, made.source, made.made) == (good, Source.CALM, NOW)
    assert 0 < made.threshold < 1
    why = f"the model {brittle} of {FAMILY} fails: "
    assert f"{other} has no threshold for {FAMILY} {brittle} yet: {why}" in caplog.text
    assert await adopt(other, warehouse, mlflow.url, [(FAMILY, good)], NOW) == []
    assert await rows(warehouse, other) == [made]
    assert await rows(warehouse, tenant) == []
    async with warehouse.as_tenant(other) as db:
        (line,) = [line for line in await audit.read(other, db, 9) if line.what == "calibration.adopt"]
        assert await calibrations.trained(other, db, made) == made.threshold
    assert (line.subject, line.after) == (made.model_version, {"threshold": made.threshold})


@pytest.mark.parametrize("why", ["no models", "own"])
async def test_nothing_is_set_where_none_is_wanted(
    warehouse: Warehouse, other: str, mlflow: Mlflow, caplog: pytest.LogCaptureFixture, why: str
) -> None:
    one = await asyncio.to_thread(version, mlflow.url, other if why == "own" else "theirs", FAMILY, 3)
    if why == "no models":
        async with warehouse.as_tenant(other) as db:
            await tenants.watch_by(other, db, "station")
    late = NOW + timedelta(days=3)  # a station's days are whole ones
    assert await adopt(other, warehouse, mlflow.url, [(FAMILY, one)], late) == []
    assert "has no threshold" not in caplog.text, "nothing was tried"


async def test_a_threshold_is_not_set_on_days_that_were_hardly_calm(
    warehouse: Warehouse, other: str, mlflow: Mlflow, caplog: pytest.LogCaptureFixture
) -> None:
    one = await asyncio.to_thread(version, mlflow.url, "theirs", FAMILY, 3)
    ill = replace(incident(other), onset=NOON, opened=NOON, impact_started=NOON)
    async with warehouse.as_tenant(other) as db:
        await incidents.save(other, db, ill)
    assert await adopt(other, warehouse, mlflow.url, [(FAMILY, one)], NOW) == []
    assert f"{other} has no threshold for 1 models yet: " in caplog.text
    async with warehouse.as_tenant(other) as db:
        await incidents.save(other, db, replace(ill, state=IncidentState.CLOSED, closed=NOON + timedelta(seconds=9)))
    assert [each.version for each in await adopt(other, warehouse, mlflow.url, [(FAMILY, one)], NOW)] == [one]


async def test_a_model_that_fails_is_tried_again_after_a_day_of_the_platform(
    warehouse: Warehouse, other: str, mlflow: Mlflow, caplog: pytest.LogCaptureFixture
) -> None:
    brittle = await asyncio.to_thread(version, mlflow.url, "theirs", FAMILY, 1, brittle=True)
    for seconds in (0, 89, 90):
        await adopt(other, warehouse, mlflow.url, [(FAMILY, brittle)], NOW + timedelta(seconds=seconds))
    assert caplog.text.count(f"{other} has no threshold for {FAMILY} {brittle} yet") == 2


async def test_a_champion_takes_no_judges_place_by_a_threshold_alone(
    warehouse: Warehouse, other: str, mlflow: Mlflow
) -> None:
    """A tenant that had no part in a promotion goes on with who judged before; one that nobody judges for does not."""
    family = "package"
    first = await asyncio.to_thread(version, mlflow.url, other, family, 4)
    await asyncio.to_thread(registry.promote, mlflow.url, family, first)
    second = await asyncio.to_thread(version, mlflow.url, "theirs", family, 5)
    champions = {(family, second), (FAMILY, "9")}
    assert await strange(other, warehouse, mlflow.url, champions) == set()
    own = Calibrated(family, first, NOW, 0.7, 0.6, 0.8, 0.69, 0.01, "seen", Source.TRAINING, "calm")
    async with warehouse.as_tenant(other) as db:
        await calibrations.put(other, db, [own])
    assert await strange(other, warehouse, mlflow.url, champions) == {(family, second)}


async def test_a_tenant_that_wants_to_be_asked_adopts_no_challenger_whose_validation_began_without_it(
    warehouse: Warehouse, tenant: str, other: str
) -> None:
    contests = {FAMILY: ("1", "2")}
    assert await unasked(other, warehouse, contests, [tenant, other]) == set()
    plan = plan_for(FAMILY, "1", "2", [tenant], NOW, load_profile("demo"), days=28)
    made = Validation(id_of(FAMILY, "1", "2"), FAMILY, "1", "2", written(plan), NOW)
    await begin([tenant], warehouse, made)
    assert await unasked(other, warehouse, contests, [tenant, other]) == set(), "it does not want to be asked"
    for name in (tenant, other):
        await asks(warehouse, name)
    assert await unasked(other, warehouse, contests, [tenant, other]) == {(FAMILY, "2")}
    assert await unasked(tenant, warehouse, contests, [tenant, other]) == set(), "it takes part, and is asked"
