"""Which model learned from whom, and what is retired when somebody leaves, on a real PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from console.lineage import told
from tasks import trace
from tests.conftest import new_tenant
from tonewatch.errors import UnknownTenant
from tonewatch.records import SessionReport
from warehouse import audit, calibrations, lineage, sessions
from warehouse.calibrations import Calibrated, Source
from warehouse.database import Warehouse
from warehouse.lineage import Traced

START = datetime(2026, 1, 1, tzinfo=UTC)
LATER = START + timedelta(days=3)
EDGE = Traced(
    model="edge-isolation-forest",
    version="3",
    run="r1",
    trained=LATER,
    started=START,
    ended=START + timedelta(days=2),
    data_hash="d1",
    sets=({"name": "edge", "version": 1, "hash": "h1"},),
    entities=("edge:edge-1", "edge:edge-2"),
    subjects=("account:p1",),
    sources={"sample": {"last": "2026-01-03"}, "session_report": {}},
)
OTHER = replace(EDGE, version="4", entities=("edge:edge-9",), subjects=(), sets=(), sources={"sample": {}})
MINE = Calibrated("edge", "3", LATER, 0.7, 0.6, 0.8, 0.69, 0.05, "exponential", Source.TRAINING, "calm")


async def keep(warehouse: Warehouse, tenant: str, *traced: Traced) -> None:
    async with warehouse.as_tenant(tenant) as db:
        for each in traced:
            await trace.trace(tenant, db, each)


async def test_a_version_leads_to_its_tenants_and_rows_and_they_lead_back(warehouse: Warehouse, tenant: str) -> None:
    other = await new_tenant(warehouse)
    await keep(warehouse, tenant, EDGE)
    await keep(warehouse, other, OTHER)
    found = await trace.of_model(warehouse, EDGE.model, "3")
    assert [(each.tenant, each.traced.entities) for each in found] == [(tenant, list(EDGE.entities))]
    assert {each.tenant for each in await trace.of_model(warehouse, EDGE.model)} >= {tenant, other}
    assert [each.traced.name for each in await trace.of_tenant(warehouse, other)] == ["edge-isolation-forest/4"]
    assert "edge-isolation-forest/3" in told(found)
    assert "edge/1" in told(found)
    assert "No model" in told([])
    with pytest.raises(UnknownTenant):
        await trace.of_tenant(warehouse, "nobody")


@pytest.mark.parametrize(
    ("subject", "versions"),
    [("edge:edge-1", ["3"]), ("edge:edge-9", ["4"]), ("account:p1", ["3"]), ("edge:edge-7", [])],
)
async def test_a_subject_leads_to_the_versions_that_saw_it(
    warehouse: Warehouse, tenant: str, subject: str, versions: list[str]
) -> None:
    await keep(warehouse, tenant, EDGE, OTHER)
    found = await trace.of_tenant(warehouse, tenant, subject)
    assert [each.traced.version for each in found] == versions


async def test_a_session_leads_to_what_learned_from_reports_of_its_time(warehouse: Warehouse, tenant: str) -> None:
    await keep(warehouse, tenant, EDGE, OTHER)
    for session, day in (("s1", 1), ("s2", 5)):
        report = SessionReport(session, "channel:ch1", "edge:edge-1", START + timedelta(days=day), "t", "p")
        async with warehouse.as_tenant(tenant) as db:
            await sessions.save(tenant, db, [report], LATER)
    assert [each.traced.version for each in await trace.of_tenant(warehouse, tenant, "s1")] == ["3"]
    assert await trace.of_tenant(warehouse, tenant, "s2") == []


async def test_what_is_retired_scores_for_nobody_is_audited_everywhere_and_asked_for_once(
    warehouse: Warehouse, tenant: str
) -> None:
    other = await new_tenant(warehouse)
    await keep(warehouse, tenant, EDGE)
    async with warehouse.as_tenant(other) as db:
        await calibrations.put(other, db, [MINE])
    ended = await trace.retire(warehouse, [EDGE], "a tenant has left", LATER, who="ann", leaving=tenant)
    assert ended == ["edge-isolation-forest/3"]
    assert await trace.retire(warehouse, [EDGE], "a tenant has left", LATER, who="ann", leaving=tenant) == []
    async with warehouse.as_tenant(other) as db:
        assert await lineage.retired(other, db) == {"edge-isolation-forest/3"}
        assert [each.model for each in await lineage.requested(other, db)] == ["edge-isolation-forest"]
        line = next(each for each in await audit.read(other, db, 10) if each.what == "model.retire")
        assert (line.who, line.reason) == ("tonewatch", "a tenant has left")
        assert tenant not in f"{line.subject} {line.after} {line.reason}"
    async with warehouse.as_tenant(tenant) as db:
        assert (await lineage.requested(tenant, db), await lineage.retired(tenant, db)) == ([], frozenset())
    async with warehouse.as_tenant(other) as db:
        await lineage.put(other, db, EDGE)
    found = await trace.of_model(warehouse, EDGE.model, "3")
    assert {each.tenant: each.retired for each in found if each.tenant in {tenant, other}} == {
        tenant: False,
        other: True,
    }
    await keep(warehouse, other, replace(OTHER, version="9"))  # it was trained again
    async with warehouse.as_tenant(other) as db:
        assert await lineage.requested(other, db) == []


async def test_a_version_keeps_the_lineage_it_was_given_first(warehouse: Warehouse, tenant: str) -> None:
    await keep(warehouse, tenant, EDGE, replace(EDGE, entities=(), data_hash="d2"))
    (found,) = await trace.of_tenant(warehouse, tenant)
    assert found.traced.data_hash == "d1"
    assert found.traced.sources == EDGE.sources
