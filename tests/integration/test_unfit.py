"""Validations that cannot go on, on a real PostgreSQL and a real MLflow: they end, or begin anew, for a reason."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from flows.validation import contest_of, validated
from ml import registry, versions
from ml.kinds import model_name
from tests.conftest import new_tenant
from tests.integration.promoting import version
from tests.integration.servers import Mlflow
from tests.integration.test_model_lineage import EDGE
from tests.integration.test_probation import FAMILY, clean
from tests.integration.test_validation import when
from tests.unit.transcoders import NOON, PARTS, at, telemetry
from tonewatch.errors import ModelError, ModelUncalibrated
from tonewatch.records import Entity
from tonewatch.settings import Settings
from warehouse import calibrations, cursors, entities, lineage, samples, tenants, validations
from warehouse.calibrations import Calibrated, Source
from warehouse.database import Warehouse

__all__ = ["clean"]  # a fixture
pytestmark = pytest.mark.timeout(300)


async def rivals(
    warehouse: Warehouse, tenant: str, mlflow: Mlflow, *, brittle: bool = False
) -> tuple[Settings, tuple[str, str, str]]:
    """A champion and its challenger, each with a threshold of the tenant; brittle: the champion fails on any row."""
    both = [
        await asyncio.to_thread(version, mlflow.url, tenant, FAMILY, seed, brittle=brittle and seed == 1)
        for seed in (1, 2)
    ]
    await asyncio.to_thread(registry.promote, mlflow.url, FAMILY, both[0])
    await asyncio.to_thread(versions.challenge, mlflow.url, FAMILY, both[1])
    own = [Calibrated(FAMILY, each, NOON, 0.7, 0.6, 0.8, 0.69, 0.01, "seen", Source.TRAINING, "calm") for each in both]
    async with warehouse.as_tenant(tenant) as db:
        await entities.save(tenant, db, [Entity(part, FAMILY) for part in PARTS], at(-86_400))
        await samples.append(tenant, db, telemetry(-360, 600))
        await calibrations.put(tenant, db, own)
    chosen = Settings(tenant=tenant, profile="demo", mlflow_tracking_uri=mlflow.url)
    return chosen, (FAMILY, both[0], both[1])


async def test_a_challenger_that_no_longer_fits_is_worse_and_keeps_no_other_from_its_turn(
    warehouse: Warehouse, tenant: str, mlflow: Mlflow
) -> None:
    chosen, pair = await rivals(warehouse, tenant, mlflow)
    begun = await validated(chosen, warehouse, pair, [tenant], when(1))
    assert (begun["answer"], begun["final"]) == ("inconclusive", False)
    await asyncio.to_thread(versions.tag, mlflow.url, FAMILY, pair[2], {"fingerprint": "of other features"})
    told = await validated(chosen, warehouse, pair, [tenant], when(2))
    assert (told["validation"], told["answer"], told["final"]) == (begun["validation"], "worse", True)
    async with warehouse.as_tenant(tenant) as db:
        kept = await validations.newest(tenant, db, begun["validation"])
    assert kept is not None
    assert (kept.answer, kept.final, "other feature definitions" in kept.reasons[0]) == ("worse", True, True)
    assert versions.challenger(mlflow.url, FAMILY) is None


async def test_a_challenger_that_is_retired_waits_no_longer_and_is_asked_for_again_while_the_registry_is_away(
    warehouse: Warehouse, tenant: str, mlflow: Mlflow
) -> None:
    chosen, pair = await rivals(warehouse, tenant, mlflow)
    begun = await validated(chosen, warehouse, pair, [tenant], when(1))
    gone = replace(EDGE, model=model_name(FAMILY), version=pair[2])
    async with warehouse.as_tenant(tenant) as db:
        await lineage.retire(tenant, db, [gone], "an erasure", when(1))
    away = chosen.model_copy(update={"mlflow_tracking_uri": "http://127.0.0.1:9"})
    with pytest.raises(ModelError, match="stayed challenger"):
        await validated(away, warehouse, pair, [tenant], when(2))
    assert versions.challenger(mlflow.url, FAMILY) == pair[2]
    told = await validated(chosen, warehouse, pair, [tenant], when(3))
    assert (told["validation"], told["answer"], told["final"]) == (begun["validation"], "inconclusive", True)
    assert "is retired" in told["reasons"]
    async with warehouse.as_tenant(tenant) as db:
        kept = await validations.newest(tenant, db, begun["validation"])
    assert kept is not None
    assert (kept.answer, kept.final) == ("inconclusive", True)
    assert versions.challenger(mlflow.url, FAMILY) is None
    assert "is retired" in versions.one(mlflow.url, FAMILY, pair[2]).tags[versions.VALIDATION]


async def test_a_champion_that_no_longer_fits_is_no_fault_of_its_challenger(
    warehouse: Warehouse, tenant: str, mlflow: Mlflow
) -> None:
    chosen, pair = await rivals(warehouse, tenant, mlflow)
    await asyncio.to_thread(versions.tag, mlflow.url, FAMILY, pair[1], {"fingerprint": "of other features"})
    with pytest.raises(ModelError, match="other feature definitions"):
        await validated(chosen, warehouse, pair, [tenant], when(1))
    assert versions.challenger(mlflow.url, FAMILY) == pair[2]


async def beside(warehouse: Warehouse, pair: tuple[str, str, str], profile: str) -> str:
    """A further tenant with a threshold for both, of whose platform nothing was stored yet."""
    name = await new_tenant(warehouse)
    family, *both = pair
    own = [Calibrated(family, each, NOON, 0.7, 0.6, 0.8, 0.69, 0.01, "seen", Source.CALM, "calm") for each in both]
    async with warehouse.as_tenant(name) as db:
        await calibrations.put(name, db, own)
        await tenants.watch_by(name, db, profile)
    return name


async def test_tenants_whose_day_is_as_long_judge_together(warehouse: Warehouse, tenant: str, mlflow: Mlflow) -> None:
    chosen, pair = await rivals(warehouse, tenant, mlflow)
    like, longer, light = [await beside(warehouse, pair, each) for each in ("demo", "platform", "station")]
    assert list((await contest_of(chosen, warehouse, *pair, [tenant, like])).pairs) == [tenant, like]
    assert list((await contest_of(chosen, warehouse, *pair, [tenant, like, longer, light])).pairs) == [longer]
    with pytest.raises(ModelUncalibrated) as told:
        await contest_of(chosen, warehouse, *pair, [light])
    assert light not in str(told.value), "it is written in the rows of every tenant"


async def test_a_tenant_on_which_the_champion_fails_keeps_no_other_from_being_gone_through(
    warehouse: Warehouse, tenant: str, mlflow: Mlflow
) -> None:
    chosen, pair = await rivals(warehouse, tenant, mlflow, brittle=True)
    quiet = await beside(warehouse, pair, "demo")
    with pytest.raises(ModelError, match="fails"):
        await validated(chosen, warehouse, pair, [tenant, quiet], when(1))
    for name, reached in ((tenant, False), (quiet, True)):
        async with warehouse.as_tenant(name) as db:
            (kept,) = await validations.listed(name, db)
            assert (await cursors.get(name, db, f"validation:{kept.id}") is not None) == reached


async def test_a_champion_that_fails_costs_no_challenger_its_turn(
    warehouse: Warehouse, tenant: str, mlflow: Mlflow
) -> None:
    chosen, pair = await rivals(warehouse, tenant, mlflow, brittle=True)
    with pytest.raises(ModelError, match=r"the model .* fails"):
        await validated(chosen, warehouse, pair, [tenant], when(1))
    late = NOON + timedelta(days=3)  # its samples have ended, and its 28 days of a minute and a half
    over = await validated(chosen, warehouse, pair, [tenant], late)
    assert (over["answer"], over["final"]) == ("inconclusive", False)
    assert "nothing was observed" in over["reasons"]
    assert versions.challenger(mlflow.url, FAMILY) == pair[2]
    again = await validated(chosen, warehouse, pair, [tenant], late + timedelta(minutes=1))
    async with warehouse.as_tenant(tenant) as db:
        (newest, first) = await validations.listed(tenant, db)
    assert (first.id, newest.id) == (over["validation"], again["validation"])
    assert newest.plan[validations.ANEW] == first.id
    assert newest.started > late - timedelta(days=2)
