"""Data quality on a real PostgreSQL: every clause a row, a breach told once to its owner, Data Docs in a folder."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from feature_store import expectations
from feature_store.contracts import Clause
from flows.data_quality import look_through
from tasks.data_quality import Inspected, inspect
from tests.conftest import new_tenant
from tests.integration.drifting import NOW, furnish
from tests.integration.features import EDGE
from tonewatch.clock import ManualClock
from tonewatch.errors import StateFolderError
from tonewatch.records import Notice
from tonewatch.settings import Settings
from warehouse import notices, quality, tenants
from warehouse.database import Warehouse

LATER = NOW + timedelta(hours=1)
SETTINGS = Settings(alert_channels=("email", "slack"))


@pytest.fixture(autouse=True)
def without_great_expectations(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most of it is the same with the contracts alone, in a tenth of the time."""
    if "docs" not in request.fixturenames:
        monkeypatch.setattr(expectations, "installed", lambda: False)


async def look(warehouse: Warehouse, tenant: str, now: datetime = NOW) -> Inspected:
    return (await inspect(tenant, warehouse, SETTINGS, now)).views[0]


async def told(warehouse: Warehouse, tenant: str) -> list[Notice]:
    async with warehouse.as_tenant(tenant) as db:
        ids = [id_ for _, id_ in await notices.lease_due(db, LATER + timedelta(days=1), "test", 60, 50)]
        return [notice for id_ in ids if (notice := await notices.get(tenant, db, id_)) is not None]


async def test_every_clause_of_the_contract_becomes_a_row(warehouse: Warehouse, tenant: str) -> None:
    await furnish(warehouse, tenant, days=4)
    found = await look(warehouse, tenant)
    async with warehouse.as_tenant(tenant) as db:
        kept = await quality.newest(tenant, db)
    assert len(kept) == 3 + 3 * len(EDGE.names)
    assert all(each.held for each in kept)
    assert {each.judge for each in kept} == {"contracts"}
    assert "make learning" in found.note
    assert await told(warehouse, tenant) == []


async def test_a_breach_is_told_to_its_owner_once_while_it_lasts(warehouse: Warehouse, tenant: str) -> None:
    await furnish(warehouse, tenant, days=4, shift=1e7, since=NOW - timedelta(seconds=60))
    assert [each.key for each in (await look(warehouse, tenant)).began] == [
        ("edge", Clause.RANGE, "seconds_per_request")
    ]
    assert (await look(warehouse, tenant, NOW + timedelta(minutes=5))).began == ()
    sent = await told(warehouse, tenant)
    assert sorted(notice.channel for notice in sent) == ["email", "slack"]
    assert {notice.subject for notice in sent} == {
        "[data] the contract of edge does not hold (owner: delivery)",
    }
    assert "edge, range seconds_per_request: " in sent[0].body


async def test_the_end_of_a_breach_is_told_and_its_return_is_another(warehouse: Warehouse, tenant: str) -> None:
    await furnish(warehouse, tenant, days=4, shift=1e7, since=NOW - timedelta(seconds=60))
    await look(warehouse, tenant)
    await furnish(warehouse, tenant, days=4, until=NOW + timedelta(hours=3))
    mended = await look(warehouse, tenant, NOW + timedelta(hours=3))
    assert [each.feature for each in mended.ended] == ["seconds_per_request"]
    subjects = [notice.subject for notice in await told(warehouse, tenant) if notice.channel == "email"]
    assert subjects[-1] == "[data] the contract of edge holds again (owner: delivery)"
    stale = await look(warehouse, tenant, NOW + timedelta(hours=9))
    assert [each.key for each in stale.began] == [("edge", Clause.FRESH, "")]
    async with warehouse.as_tenant(tenant) as db:
        assert [each.clause for each in await quality.lasting(tenant, db)] == [Clause.FRESH]


async def test_two_rounds_at_once_tell_it_once(warehouse: Warehouse, tenant: str) -> None:
    await furnish(warehouse, tenant, days=4, shift=1e7, since=NOW - timedelta(seconds=60))
    both = await asyncio.gather(*(look(warehouse, tenant, NOW + timedelta(seconds=step)) for step in (1, 2)))
    assert sorted(len(each.began) for each in both) == [0, 1]


async def test_one_tenant_that_fails_keeps_no_other_from_its_turn(
    warehouse: Warehouse, tenant: str, tmp_path: Path
) -> None:
    other = await new_tenant(warehouse)
    await furnish(warehouse, other, days=4)
    await furnish(warehouse, tenant, days=4)
    async with warehouse.as_tenant(tenant) as db:
        await tenants.watch_by(tenant, db, "gone")
    found = await look_through(warehouse, Settings(state_dir=tmp_path), ManualClock(NOW))
    assert "gone" in found.failed[tenant]
    assert [len(each.views) for each in found.done if each.tenant == other] == [1]


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    pytest.importorskip("great_expectations")
    return tmp_path


async def test_great_expectations_judges_and_its_pages_lie_in_the_tenants_folder(
    warehouse: Warehouse, tenant: str, docs: Path
) -> None:
    await furnish(warehouse, tenant, days=4, shift=1e7, since=NOW - timedelta(seconds=60))
    for now in (NOW, NOW + timedelta(minutes=5)):
        found = (await inspect(tenant, warehouse, SETTINGS, now, docs)).views[0]
        assert [(each.clause, each.feature, each.judge) for each in found.broken] == [
            (Clause.RANGE, "seconds_per_request", "great-expectations")
        ]
    assert (docs / "edge" / "index.html").is_file()
    assert len(list((docs / "edge" / "validations").rglob("*.html"))) == 1, "of the last check alone"


async def test_data_docs_that_cannot_be_written_are_told(warehouse: Warehouse, tenant: str, docs: Path) -> None:
    await furnish(warehouse, tenant, days=4)
    (docs / "file").write_text("in the way")
    with pytest.raises(StateFolderError, match="Data Docs go there"):
        await inspect(tenant, warehouse, SETTINGS, NOW, docs / "file")
