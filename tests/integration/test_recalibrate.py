"""What people say of incidents eases the thresholds of the tenant that said it, on a real PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from tasks.recalibrate import recalibrate
from tests.conftest import new_tenant
from tonewatch.records import ActKind, Finding, FindingKind, Incident, IncidentState
from warehouse import audit, calibrations, findings, incidents
from warehouse.acts import Wish, do
from warehouse.calibrations import Calibrated, Source
from warehouse.database import Warehouse

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = START + timedelta(hours=1)
PART = "component:edge-1"
TRAINED = Calibrated("edge", "3", START, 0.7, 0.6, 0.8, 0.69, 0.05, "exponential", Source.TRAINING, "calm")


async def told(
    warehouse: Warehouse, tenant: str, id_: str, score: float, version: str = "3", family: str = "edge"
) -> None:
    """An incident that an anomaly of that score opened, handed over to people."""
    finding = Finding(
        tenant,
        PART,
        "isolation-forest:edge",
        FindingKind.SIGNAL,
        START + timedelta(seconds=int(id_[1:])),
        LATER,
        summary="unlike its calm days",
        symptom="anomaly",
        score=score,
        rate=0.05,
        features={"hit_ratio": -9.0},
        model_version=calibrations.model_version(family, version),
    )
    incident = Incident(id_, tenant, IncidentState.HANDED_OVER, START, START, "unlike its calm days", (PART,))
    async with warehouse.as_tenant(tenant) as db:
        await findings.save(tenant, db, [finding])
        await incidents.save(tenant, db, incident)
        await incidents.attach(tenant, db, id_, [finding.id])


async def say(warehouse: Warehouse, tenant: str, id_: str, verdict: str) -> None:
    await do(tenant, warehouse, Wish(ActKind.CLOSE, id_, "ann", "I looked", verdict), LATER)


async def held(warehouse: Warehouse, tenant: str) -> list[Calibrated]:
    async with warehouse.as_tenant(tenant) as db:
        return await calibrations.newest(tenant, db)


async def test_a_false_alarm_raises_the_threshold_of_its_tenant_alone_and_once(
    warehouse: Warehouse, tenant: str
) -> None:
    other = await new_tenant(warehouse)
    for each in (tenant, other):
        async with warehouse.as_tenant(each) as db:
            await calibrations.put(each, db, [TRAINED])
        await told(warehouse, each, "i1", 0.74)
    await told(warehouse, tenant, "i2", 0.9, version="2")  # of another version: says nothing of this one
    await say(warehouse, tenant, "i1", "false-alarm")
    await say(warehouse, tenant, "i2", "false-alarm")

    (raised,) = await recalibrate(tenant, warehouse, LATER)
    assert (raised.threshold, raised.source) == (0.74, Source.LABELS)
    assert await held(warehouse, tenant) == [raised]
    assert await recalibrate(tenant, warehouse, LATER + timedelta(hours=1)) == []
    assert await recalibrate(other, warehouse, LATER) == []
    assert await held(warehouse, other) == [TRAINED]
    async with warehouse.as_tenant(tenant) as db:
        line = next(each for each in await audit.read(tenant, db, 10) if each.what == "calibration.ease")
    assert (line.before, line.after) == ({"threshold": 0.7}, {"threshold": 0.74})


async def test_what_was_real_or_planned_raises_nothing(warehouse: Warehouse, tenant: str) -> None:
    async with warehouse.as_tenant(tenant) as db:
        await calibrations.put(tenant, db, [TRAINED])
    for number, verdict in enumerate(("real", "planned"), start=1):
        await told(warehouse, tenant, f"i{number}", 0.8)
        await say(warehouse, tenant, f"i{number}", verdict)
    assert await recalibrate(tenant, warehouse, LATER) == []


async def test_what_was_real_keeps_false_alarms_that_scored_higher_from_raising_it(
    warehouse: Warehouse, tenant: str
) -> None:
    async with warehouse.as_tenant(tenant) as db:
        await calibrations.put(tenant, db, [TRAINED])
    for id_, score, verdict in (("i1", 0.72, "false-alarm"), ("i2", 0.75, "real"), ("i3", 0.8, "false-alarm")):
        await told(warehouse, tenant, id_, score)
        await say(warehouse, tenant, id_, verdict)
    (raised,) = await recalibrate(tenant, warehouse, LATER)
    assert raised.threshold == 0.72


async def test_an_anomaly_that_joined_what_a_rule_had_told_is_not_blamed_for_it(
    warehouse: Warehouse, tenant: str
) -> None:
    async with warehouse.as_tenant(tenant) as db:
        await calibrations.put(tenant, db, [TRAINED])
    await told(warehouse, tenant, "i1", 0.8)
    rule = Finding(tenant, PART, "rule:scrape-down", FindingKind.RULE, START, LATER, "no metrics", "scrape-refused")
    async with warehouse.as_tenant(tenant) as db:
        await findings.save(tenant, db, [rule])
        await incidents.attach(tenant, db, "i1", [rule.id])
    await say(warehouse, tenant, "i1", "false-alarm")
    assert await recalibrate(tenant, warehouse, LATER) == []


async def test_a_new_training_of_the_same_version_starts_anew(warehouse: Warehouse, tenant: str) -> None:
    eased = replace(TRAINED, made=LATER, threshold=0.74, source=Source.LABELS)
    again = replace(TRAINED, made=LATER + timedelta(hours=1), threshold=0.65)
    async with warehouse.as_tenant(tenant) as db:
        await calibrations.put(tenant, db, [TRAINED, eased, again])
    assert await held(warehouse, tenant) == [again]


async def test_what_is_said_of_single_series_eases_their_own_threshold(warehouse: Warehouse, tenant: str) -> None:
    """A family of series has an ensemble's fingerprint for a version, and findings name it as the row does."""
    of_series = replace(TRAINED, family="series:queue_length", version="3fa9c01d22aa")
    other = replace(of_series, version="000000000000")
    async with warehouse.as_tenant(tenant) as db:
        await calibrations.put(tenant, db, [TRAINED, of_series, other])
    await told(warehouse, tenant, "i1", 0.74, version="3fa9c01d22aa", family="series:queue_length")
    await say(warehouse, tenant, "i1", "false-alarm")
    (raised,) = await recalibrate(tenant, warehouse, LATER)
    assert (raised.family, raised.version, raised.threshold) == ("series:queue_length", "3fa9c01d22aa", 0.74)
    assert raised.model_version == "series:queue_length/3fa9c01d22aa"
