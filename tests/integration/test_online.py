"""Features served to other processes, with a real Redis: whole, lost, frozen, of another version, of the unknown."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from feature_store.online import Served, State, read, rebuild
from feature_store.views import view
from tasks.materialize import materialize
from tests.conftest import new_tenant
from tests.integration.features import EDGE, EDGES, at, settle, telemetry
from tests.integration.test_warehouse_cache import Server
from tonewatch.clock import ManualClock
from tonewatch.errors import FeatureError
from tonewatch.records import Entity
from tonewatch.settings import load_profile
from warehouse import entities
from warehouse.cache import PAUSE_S, Cache
from warehouse.database import Warehouse

NOW = at(120)


@pytest.fixture
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    made = Server(tmp_path_factory.mktemp("redis"))
    await made.start()
    yield made
    made.end()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
async def cache(server: Server, clock: ManualClock) -> AsyncIterator[Cache]:
    made = Cache(server.url, clock)
    yield made
    await made.close()


@pytest.fixture
async def stocked(warehouse: Warehouse, cache: Cache, tenant: str) -> str:
    """A tenant whose edges' rows are in the warehouse and in the cache."""
    await settle(warehouse, tenant, telemetry(0, 120))
    (done,) = await materialize(tenant, warehouse, cache, ManualClock(NOW))
    assert done.cached == 3
    return tenant


def same(one: Served, other: Served) -> None:
    assert (one.entities, one.states) == (other.entities, other.states)
    np.testing.assert_array_equal(one.times, other.times)
    np.testing.assert_array_equal(one.values, other.values)
    np.testing.assert_array_equal(one.coverage, other.coverage)


async def test_cache_and_warehouse_give_the_same_rows(stocked: str, warehouse: Warehouse, cache: Cache) -> None:
    asked = [EDGES[2], EDGES[0], EDGES[2]]
    cached = await read(stocked, warehouse, cache, EDGE, asked, NOW)
    looked_up = await read(stocked, warehouse, Cache(None), EDGE, asked, NOW)
    assert (cached.source, cached.note) == ("cache", "")
    assert (looked_up.source, looked_up.note) == ("warehouse", "Redis is away")
    assert cached.states == (State.PRESENT,) * 3
    assert not np.isnan(cached.values).all(axis=1).any()
    same(cached, looked_up)


async def test_a_lost_cache_is_filled_again_and_says_so(stocked: str, warehouse: Warehouse, cache: Cache) -> None:
    before = await read(stocked, warehouse, cache, EDGE, EDGES, NOW)
    await cache.forget(stocked)
    lost = await read(stocked, warehouse, cache, EDGE, EDGES[:1], NOW)
    assert (lost.source, lost.note) == ("warehouse", "the cache held nothing of this view: it was filled again")
    after = await read(stocked, warehouse, cache, EDGE, EDGES, NOW)
    assert after.source == "cache"
    same(before, after)


async def test_half_a_value_or_another_in_its_place_is_no_value(
    stocked: str, warehouse: Warehouse, cache: Cache
) -> None:
    good = await cache.features(stocked, EDGE.id)
    assert good is not None
    for rubbish in (good[:-8], good[:20], b"", b"[]", good[:-1] + b"\0", bytes(len(good))):
        await cache.put_features(stocked, EDGE.id, rubbish, 60)
        served = await read(stocked, warehouse, cache, EDGE, EDGES, NOW)
        assert (served.source, served.states) == ("warehouse", (State.PRESENT,) * 3)
        assert await cache.features(stocked, EDGE.id) == good


async def test_with_redis_frozen_the_warehouse_answers(
    stocked: str, warehouse: Warehouse, cache: Cache, server: Server, clock: ManualClock
) -> None:
    server.process.send_signal(signal.SIGSTOP)
    try:
        served = await read(stocked, warehouse, cache, EDGE, EDGES, NOW)
        assert (served.source, served.note) == ("warehouse", "Redis is away")
        assert served.states == (State.PRESENT,) * 3
        assert await rebuild(stocked, warehouse, cache, EDGE, NOW) == 0
    finally:
        server.process.send_signal(signal.SIGCONT)
    clock.advance(PAUSE_S)
    assert (await read(stocked, warehouse, cache, EDGE, EDGES, NOW)).source == "cache"


async def test_unknown_and_silent_entities_have_no_numbers(stocked: str, warehouse: Warehouse, cache: Cache) -> None:
    async with warehouse.as_tenant(stocked) as db:
        await entities.save(stocked, db, [Entity("edge:new", "edge"), Entity("component:origin", "origin")], at(100))
    asked = ["edge:new", EDGES[0], "component:origin", "edge:nobody"]
    served = await read(stocked, warehouse, cache, EDGE, asked, NOW)
    assert served.states == (State.MISSING, State.PRESENT, State.UNKNOWN, State.UNKNOWN)
    assert np.isnan(served.values[[0, 2, 3]]).all()
    assert np.isnan(served.coverage[[0, 2, 3]]).all()
    assert (served.source, served.note) == ("both", "the cache had no fresh row of 3 of 4")


async def test_a_part_that_went_away_is_served_alike_by_cache_and_warehouse(
    stocked: str, warehouse: Warehouse, cache: Cache
) -> None:
    async with warehouse.as_tenant(stocked) as db:
        await entities.end(stocked, db, EDGES[:1], at(115))
    assert await rebuild(stocked, warehouse, cache, EDGE, NOW) == 3
    cached = await read(stocked, warehouse, cache, EDGE, EDGES, NOW)
    assert cached.source == "cache"
    same(cached, await read(stocked, warehouse, Cache(None), EDGE, EDGES, NOW))


async def test_a_row_that_is_too_old_gives_its_time_and_no_numbers(
    stocked: str, warehouse: Warehouse, cache: Cache
) -> None:
    last = at(110)
    served = await read(stocked, warehouse, cache, EDGE, EDGES, last + EDGE.fresh - timedelta(seconds=1))
    assert served.states == (State.PRESENT,) * 3
    for each in (cache, Cache(None)):
        served = await read(stocked, warehouse, each, EDGE, EDGES, last + EDGE.fresh)
        assert served.states == (State.STALE,) * 3
        assert np.isnan(served.values).all()
        assert set(served.times.tolist()) == {round(last.timestamp() * 1e6)}


async def test_after_the_clock_was_set_back_no_row_of_the_future_is_served(
    stocked: str, warehouse: Warehouse, cache: Cache
) -> None:
    served = await read(stocked, warehouse, cache, EDGE, EDGES, at(65))
    assert served.states == (State.PRESENT,) * 3
    assert set(served.times.tolist()) == {round(at(60).timestamp() * 1e6)}
    assert (await read(stocked, warehouse, cache, EDGE, EDGES, at(5))).states == (State.MISSING,) * 3


async def test_another_version_of_the_view_is_refused_not_served(
    stocked: str, warehouse: Warehouse, cache: Cache
) -> None:
    first = replace(EDGE.features[0], version=2)
    for other in (replace(EDGE, features=(first, *EDGE.features[1:])), view("edge", load_profile("platform"))):
        with pytest.raises(FeatureError, match="no rows of the view edge as it is defined now"):
            await read(stocked, warehouse, cache, other, EDGES, NOW)


async def test_another_tenant_sees_none_of_it(stocked: str, warehouse: Warehouse, cache: Cache) -> None:
    other = await new_tenant(warehouse)
    with pytest.raises(FeatureError, match="none of it at all"):
        await read(other, warehouse, cache, EDGE, EDGES, NOW)
    await settle(warehouse, other, telemetry(0, 40, edges=EDGES[:1]), EDGES[:1])
    await materialize(other, warehouse, cache, ManualClock(NOW))
    served = await read(other, warehouse, cache, EDGE, EDGES, NOW)
    assert served.states == (State.PRESENT, State.UNKNOWN, State.UNKNOWN)


async def test_forgetting_a_tenant_leaves_the_features_of_others(
    stocked: str, warehouse: Warehouse, cache: Cache
) -> None:
    await cache.put_features("another", EDGE.id, b"kept", 60)
    await cache.forget(stocked)
    assert await cache.features(stocked, EDGE.id) is None
    assert await cache.features("another", EDGE.id) == b"kept"


async def test_what_is_filled_again_does_not_take_the_place_of_newer_rows(cache: Cache, tenant: str) -> None:
    await cache.put_features(tenant, EDGE.id, b"newer", 60)
    await cache.put_features(tenant, EDGE.id, b"older", 60, if_lost=True)
    assert await cache.features(tenant, EDGE.id) == b"newer"
    await cache.forget(tenant)
    await cache.put_features(tenant, EDGE.id, b"older", 60, if_lost=True)
    assert await cache.features(tenant, EDGE.id) == b"older"
