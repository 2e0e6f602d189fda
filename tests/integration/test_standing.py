"""How it stands with tenants, with a real PostgreSQL and a real Redis: who is watched, and what waits for a channel."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from console.standing import at_start, picture, remarks_on, standings, standings_of
from console.tenancy import Change, Tenancy
from tests.conftest import new_tenant
from tests.integration.test_warehouse_cache import Server
from tonewatch.clock import ManualClock
from tonewatch.records import Incident, IncidentState, Notice
from tonewatch.settings import Settings
from warehouse import incidents, notices, tenants
from warehouse.cache import Cache
from warehouse.database import Warehouse

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
ICECAST = Change(set=("sources.icecast.url=http://radio:8000", "sources.icecast.mounts=[/live.mp3]"))
SET_UP = {"smtp_url": SecretStr("smtp://mail:25"), "mail_to": ("ops@radio.example",)}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
async def redis_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    server = Server(tmp_path_factory.mktemp("redis"))
    await server.start()
    yield server.url
    server.end()


async def put_notices(warehouse: Warehouse, tenant: str) -> None:
    """One that waits after it was tried, one that was refused, and one that is new."""
    told = Incident("i1", tenant, IncidentState.OPEN, START, START, "down", ("component:a",))
    first = Notice(tenant, "i1", "opened", "L1", "email", "down", "text", created=START - timedelta(minutes=5))
    refused, new = replace(first, incident_state="acted"), replace(first, incident_state="mended")
    async with warehouse.as_tenant(tenant) as db:
        await incidents.save(tenant, db, told)
        await notices.put(tenant, db, [first, refused, new])
        await notices.mark_failed(tenant, db, first.id, "mail refuses the connection", START)
        await notices.mark_refused(tenant, db, refused.id, "no such receiver")


async def test_the_watchers_own_word_stands_before_what_this_process_was_started_with(
    warehouse: Warehouse, tenant: str, clock: ManualClock, redis_url: str
) -> None:
    settings = Settings(tenant=tenant, redis_url=SecretStr(redis_url))
    assert [line for line in await remarks_on(tenant, settings, warehouse, clock) if "TONEWATCH_SMTP_URL" in line]
    cache, source = Cache(redis_url), {"kind": "icecast", "address": "http://radio:8000", "last_sample": None}
    await cache.put_live(tenant, {"sources": [source], "lacking": []})
    await cache.close()
    assert await remarks_on(tenant, settings, warehouse, clock) == []
    found = {each.tenant: each for each in await standings(settings, warehouse, clock)}
    assert (found[tenant].watched, found[tenant].sources) == (True, [source])


async def test_tenants_with_sources_are_told_of_and_those_without_only_if_they_are_ours(
    warehouse: Warehouse, tenant: str, clock: ManualClock
) -> None:
    connected, bare = await new_tenant(warehouse), await new_tenant(warehouse)
    await Tenancy(warehouse, clock).change(connected, ICECAST, "ann", "connected")
    found = {each.tenant: each for each in await standings(Settings(tenant=tenant), warehouse, clock)}
    assert {tenant, connected} <= set(found)
    assert bare not in found
    assert [each["address"] for each in found[connected].sources] == ["http://radio:8000"]
    assert not found[connected].watched
    assert "not watched now" in found[connected].text(START)[0]
    assert "no source is connected" in found[tenant].text(START)[1]
    assert found[tenant].document()["tenant"] == tenant


async def test_the_picture_is_the_own_tenants_also_where_only_redis_is_there(
    warehouse: Warehouse, tenant: str, clock: ManualClock, redis_url: str
) -> None:
    other = await new_tenant(warehouse)
    mine, theirs = Settings(tenant=other, redis_url=SecretStr(redis_url)), {"ticks": 1, "sources": [], "lacking": []}
    cache = Cache(redis_url)
    await cache.put_live(tenant, theirs)
    found = await standings(mine, warehouse, clock)
    assert await picture(mine, found) == theirs, "it is the only one"
    await cache.put_live(other, theirs | {"ticks": 2})
    await cache.close()
    assert await picture(mine, await standings(mine, warehouse, clock)) == theirs | {"ticks": 2}
    assert await picture(mine, []) == theirs | {"ticks": 2}, "PostgreSQL is away: nothing is known of the tenants"
    assert await picture(Settings(tenant=other), []) is None


async def test_a_tenant_whose_profile_is_gone_is_told_of_and_takes_no_other_from_the_list(
    warehouse: Warehouse, tenant: str, clock: ManualClock
) -> None:
    bare = await new_tenant(warehouse)
    async with warehouse.as_tenant(bare) as db:
        await tenants.watch_by(bare, db, "no-longer-there")
    found = {each.tenant: each for each in await standings(Settings(tenant=tenant), warehouse, clock)}
    assert tenant in found
    assert found[bare].profile == "no-longer-there"
    assert "no profile 'no-longer-there'; known are" in found[bare].text(START)[-1]


async def test_a_tenant_that_leaves_while_the_list_is_made_is_not_in_it(
    warehouse: Warehouse, tenant: str, clock: ManualClock
) -> None:
    listed = [tenant, "left-meanwhile"]
    found = await standings_of(listed, Settings(tenant=tenant), warehouse, clock)
    assert [each.tenant for each in found] == [tenant]


async def test_notices_that_do_not_go_out_are_told_with_their_reason(
    warehouse: Warehouse, tenant: str, clock: ManualClock
) -> None:
    await put_notices(warehouse, tenant)
    settings = Settings(tenant=tenant, profile="demo", **SET_UP)
    waits, refused = await at_start(settings, warehouse, clock)
    assert waits.startswith("1 notice for email cannot go out since 2026-01-01 11:55:00 UTC: mail refuses the connec")
    assert "TONEWATCH_SMTP_URL" in waits
    assert refused.startswith("1 notice for email refused for good")
    clock.advance(2 * 86400)
    assert await at_start(settings, warehouse, clock) == [waits], "what was refused the day before yesterday is no news"


async def test_a_start_with_another_profile_or_without_a_way_to_tell_says_so(
    warehouse: Warehouse, tenant: str, clock: ManualClock
) -> None:
    profile, mail = await at_start(Settings(tenant=tenant, profile="station"), warehouse, clock)
    assert f"{tenant} is watched by the profile demo" in profile
    assert "set TONEWATCH_SMTP_URL and TONEWATCH_MAIL_TO" in mail
    own = Change(set=("channels.mail_to=[night@radio.example]",))
    await Tenancy(warehouse, clock).change(tenant, own, "ann", "a desk of their own")
    (mail,) = await at_start(Settings(tenant=tenant, profile="demo"), warehouse, clock)
    assert "set TONEWATCH_SMTP_URL for" in mail
