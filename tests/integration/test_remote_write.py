"""What is pushed by remote write is in the warehouse once, before it is acknowledged; and the watcher gets it once."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import psycopg
import pytest
from sqlalchemy import text

from console.tenancy import Change, Tenancy
from flows import detection
from flows.detection import Batch, DetectionState
from gateway.api.app import create_app
from gateway.api.door import Limits
from gateway.remote_write import Format
from tasks.collect import Collector
from tests.conftest import Database, new_tenant
from tests.integration.pushed import PROMETHEUS, pushing, until
from tests.unit.gateway.test_remote_write import UP, body_v1, body_v2, chunk, series_v1
from tonewatch.clock import SYSTEM
from tonewatch.records import Sample, Series, SeriesKind
from tonewatch.settings import load_profile
from tonewatch.topology import Topology
from warehouse import deliveries, keys, samples
from warehouse.cache import Cache
from warehouse.database import Warehouse

pytestmark = pytest.mark.integration

PROTOBUF = {"content-type": "application/x-protobuf", "content-encoding": "snappy"}
UP_SERIES = Series("component:x/a-1", "up", (("instance", "a:1"), ("job", "x")))


def ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


@pytest.fixture
async def tenant(warehouse: Warehouse) -> str:
    return await new_tenant(warehouse)


@pytest.fixture
async def door(warehouse: Warehouse, tenant: str) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(warehouse, tenant) as client:
        yield client


def client_of(warehouse: Warehouse, tenant: str, limits: Limits | None = None) -> _Client:
    return _Client(warehouse, tenant, limits)


class _Client:
    """A client with the tenant's key, before a gateway in this process."""

    def __init__(self, warehouse: Warehouse, tenant: str, limits: Limits | None) -> None:
        self._warehouse, self._tenant, self._limits = warehouse, tenant, limits

    async def __aenter__(self) -> httpx.AsyncClient:
        async with self._warehouse.as_tenant(self._tenant) as db:
            key = await keys.create(self._tenant, db, purpose="test", scopes=["metrics"], now=SYSTEM.now())
        app = create_app(self._warehouse, Cache(None), b"k" * 32, limits=self._limits)
        headers = PROTOBUF | {"authorization": f"Bearer {key}"}
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway", headers=headers)
        return self._client

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()


async def stored(warehouse: Warehouse, tenant: str) -> list[Sample]:
    async with warehouse.as_tenant(tenant) as db:
        now = SYSTEM.now()
        return await samples.read(tenant, db, now - timedelta(days=3), now + timedelta(days=1))


async def push(door: httpx.AsyncClient, body: bytes, **headers: str) -> httpx.Response:
    return await door.post("/api/v1/write", content=body, headers=headers)


async def test_samples_are_committed_when_they_are_acknowledged(
    door: httpx.AsyncClient, warehouse: Warehouse, tenant: str
) -> None:
    now = SYSTEM.now().replace(microsecond=123_000)
    answer = await push(door, body_v1(series_v1(UP, [(ms(now), 1.0), (ms(now) + 1, 0.5)])))
    assert (answer.status_code, answer.headers["x-prometheus-remote-write-samples-written"]) == (204, "2")
    assert await stored(warehouse, tenant) == [
        Sample(UP_SERIES, now, 1.0),
        Sample(UP_SERIES, now + timedelta(milliseconds=1), 0.5),
    ]


async def test_both_formats_mean_the_same_series(door: httpx.AsyncClient, warehouse: Warehouse, tenant: str) -> None:
    now = SYSTEM.now().replace(microsecond=0)
    labels = [("__name__", "plays_total"), ("job", "x")]
    await push(door, body_v1(series_v1(labels, [(ms(now), 1.0)])))
    kind = f"application/x-protobuf;proto={Format.V2}"
    answer = await push(door, body_v2((labels, [(ms(now), 1.0), (ms(now) + 5, 2.0)], 1, "")), **{"content-type": kind})
    assert answer.status_code == 204
    found = await stored(warehouse, tenant)
    assert [sample.value for sample in found] == [1.0, 2.0]
    assert {(sample.series.entity, sample.series.kind) for sample in found} == {("service:x", SeriesKind.COUNTER)}


async def test_a_body_sent_again_changes_nothing(door: httpx.AsyncClient, warehouse: Warehouse, tenant: str) -> None:
    body = body_v1(series_v1(UP, [(ms(SYSTEM.now()), 1.0)]))
    answers = await asyncio.gather(*(push(door, body) for _ in range(3)))
    assert {answer.status_code for answer in answers} == {204}
    assert len(await stored(warehouse, tenant)) == 1
    async with warehouse.as_tenant(tenant) as db:
        found, _ = await deliveries.since(tenant, db, deliveries.BEGINNING, SYSTEM.now() - timedelta(hours=1))
    assert len(found) == 1, "nor is it a second reading"


async def test_the_tenants_own_rules_name_the_entities(
    door: httpx.AsyncClient, warehouse: Warehouse, tenant: str
) -> None:
    rule = "naming=[{match: {instance: 'a:.*'}, entity: 'edge:{job}'}]"
    await Tenancy(warehouse).change(tenant, Change(set=(rule,)), "ann", "our names")
    assert (await push(door, body_v1(series_v1(UP, [(ms(SYSTEM.now()), 1.0)])))).status_code == 204
    assert [sample.series.entity for sample in await stored(warehouse, tenant)] == ["edge:x"]


async def test_the_watcher_is_given_each_delivery_once_and_in_order(
    door: httpx.AsyncClient, warehouse: Warehouse, tenant: str
) -> None:
    now = SYSTEM.now().replace(microsecond=0)
    for step in range(3):
        await push(door, body_v1(series_v1(UP, [(ms(now) + step, float(step))])))
    async with warehouse.as_tenant(tenant) as db:
        first, position = await deliveries.since(tenant, db, deliveries.BEGINNING, now - timedelta(hours=1), 2)
        rest, end = await deliveries.since(tenant, db, position, now - timedelta(hours=1))
        assert [sample.value for sample in [*first, *rest]] == [0.0, 1.0, 2.0]
        assert first[0] == Sample(UP_SERIES, now, 0.0)
        assert await deliveries.since(tenant, db, end, now - timedelta(hours=1)) == ([], end)
        assert await deliveries.forget(tenant, db, position) == 2
        assert (await deliveries.since(tenant, db, deliveries.BEGINNING, now - timedelta(hours=1)))[0] == rest
        assert (await deliveries.since(tenant, db, deliveries.BEGINNING, SYSTEM.now() + timedelta(hours=1)))[0] == []


async def test_a_delivery_that_commits_late_is_not_passed_over(warehouse: Warehouse, tenant: str) -> None:
    now = SYSTEM.now()
    slow, quick = (samples.columns_of([Sample(UP_SERIES, now, value)]) for value in (1.0, 2.0))
    async with warehouse.as_tenant(tenant) as first:
        await samples.append_columns(tenant, first, slow)
        await deliveries.put(tenant, first, slow, now)
        async with warehouse.as_tenant(tenant) as second:
            await deliveries.put(tenant, second, quick, now)
        async with warehouse.as_tenant(tenant) as reader:
            before, position = await deliveries.since(tenant, reader, deliveries.BEGINNING, now)
        assert before == []  # the quick one waits for the slow one, which began before it
    async with warehouse.as_tenant(tenant) as reader:
        found, _ = await deliveries.since(tenant, reader, position, now)
    assert [sample.value for sample in found] == [1.0, 2.0]


async def test_a_tick_takes_what_was_pushed_and_its_heir_neither_misses_nor_repeats_it(
    door: httpx.AsyncClient, warehouse: Warehouse, tenant: str
) -> None:
    now = SYSTEM.now().replace(microsecond=0)
    profile, topology, collector = load_profile("demo"), Topology([]), Collector(load_profile("demo"), SYSTEM, "")
    state = DetectionState()

    async def tick() -> None:
        await collector.take_deliveries(tenant, warehouse)
        window = (now, SYSTEM.now())
        batch = Batch([], window, collector.positions(), collector.drain_pushed())
        await detection.tick(tenant, warehouse, state, batch, topology, profile)

    def held() -> list[float]:
        return [sample.value for sample in state.recent.readings.get(("component:x/a-1", "up"), ())]

    for step in range(3):
        await push(door, body_v1(series_v1(UP, [(ms(now) + step, float(step))])))
        if step < 2:
            await tick()
    assert held() == [0.0, 1.0]
    async with warehouse.as_tenant(tenant) as db:
        assert (await db.execute(text("select count(*) from delivery"))).scalar_one() == 1  # the third waits

    state, collector = DetectionState(), Collector(profile, SYSTEM, "")  # the watcher dies before its third tick
    collector.resume(await detection.restore(tenant, warehouse, state, SYSTEM.now()), state.restored)
    assert held() == [0.0, 1.0, 2.0]
    await push(door, body_v1(series_v1(UP, [(ms(now) + 3, 3.0)])))
    await tick()
    assert held() == [0.0, 1.0, 2.0, 3.0]
    async with warehouse.as_tenant(tenant) as db:
        assert (await db.execute(text("select count(*) from delivery"))).scalar_one() == 0


async def test_values_that_are_no_number_are_taken_and_not_kept(
    door: httpx.AsyncClient, warehouse: Warehouse, tenant: str
) -> None:
    now = ms(SYSTEM.now())
    values = [(now, math.nan), (now + 1, math.inf), (now + 2, -math.inf), (now + 3, 4.0)]
    answer = await push(door, body_v1(series_v1(UP, values)))
    assert answer.status_code == 204
    assert [sample.value for sample in await stored(warehouse, tenant)] == [4.0]
    assert 'written_samples_total{outcome="void"} 3.0' in (await door.get("/metrics")).text


@pytest.mark.parametrize("moment", [datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)])
async def test_a_time_out_of_reach_is_refused_and_the_rest_of_the_body_is_kept(
    door: httpx.AsyncClient, warehouse: Warehouse, tenant: str, moment: datetime
) -> None:
    answer = await push(door, body_v1(series_v1(UP, [(ms(moment), 1.0), (ms(SYSTEM.now()), 2.0)])))
    assert (answer.status_code, answer.headers["x-prometheus-remote-write-samples-written"]) == (400, "1")
    assert answer.json()["refused"] == {"a time more than 5 minutes ahead or 48 hours behind": 1}
    assert [sample.value for sample in await stored(warehouse, tenant)] == [2.0]


@pytest.mark.parametrize("time", [-(2**63), 2**63 - 1])
async def test_a_time_beyond_all_time_is_refused(door: httpx.AsyncClient, time: int) -> None:
    assert (await push(door, body_v1(series_v1(UP, [(time, 1.0)])))).status_code == 400


async def test_native_histograms_are_refused_with_what_to_do(
    door: httpx.AsyncClient, warehouse: Warehouse, tenant: str
) -> None:
    answer = await push(door, body_v1(series_v1(UP, [(ms(SYSTEM.now()), 1.0)], chunk(4, b""))))
    assert answer.status_code == 400
    assert "classic" in next(iter(answer.json()["refused"]))
    assert len(await stored(warehouse, tenant)) == 1


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "application/json"}, 415),
        ({"content-type": "application/x-protobuf;proto=other"}, 415),
        ({"content-encoding": "gzip"}, 415),
        ({"content-encoding": "identity"}, 415),
        ({"authorization": "Bearer tw_x_y"}, 401),
    ],
)
async def test_what_is_no_remote_write_is_refused(
    door: httpx.AsyncClient, headers: dict[str, str], status: int
) -> None:
    assert (await push(door, body_v1(series_v1(UP, [(ms(SYSTEM.now()), 1.0)])), **headers)).status_code == status


@pytest.mark.parametrize("body", [b"half a frame", body_v1(series_v1(UP, [(1, 1.0)]))[:-5]])
async def test_a_body_that_is_no_message_is_refused(door: httpx.AsyncClient, body: bytes) -> None:
    assert (await push(door, body)).status_code == 400


async def test_a_key_for_beacons_can_not_write(warehouse: Warehouse, door: httpx.AsyncClient, tenant: str) -> None:
    async with warehouse.as_tenant(tenant) as db:
        key = await keys.create(tenant, db, purpose="players", scopes=["beacons"], now=SYSTEM.now())
    answer = await push(door, body_v1(), authorization=f"Bearer {key}")
    assert (answer.status_code, "metrics" in answer.json()["error"]) == (401, True)


async def test_more_than_may_come_at_once_is_refused(warehouse: Warehouse, tenant: str) -> None:
    limits = Limits(write_samples=2, write_bytes=10_000, unpacked_bytes=20_000)
    now = ms(SYSTEM.now())
    async with client_of(warehouse, tenant, limits) as door:
        three = body_v1(series_v1(UP, [(now + step, 1.0) for step in range(3)]))
        large = body_v1(*(series_v1([("__name__", "a"), ("b", f"{n}" * 50)], [(now, 1.0)]) for n in range(500)))
        assert (await push(door, three)).status_code == 413
        assert (await push(door, large)).status_code == 413
        assert (await push(door, b"x" * 10_001)).status_code == 413
    assert await stored(warehouse, tenant) == []


async def test_series_beyond_the_limit_are_refused_and_the_known_ones_go_on(warehouse: Warehouse, tenant: str) -> None:
    now = ms(SYSTEM.now())

    def body(count: int, time: int) -> bytes:
        return body_v1(*(series_v1([("__name__", "a"), ("n", str(n))], [(time, 1.0)]) for n in range(count)))

    await Tenancy(warehouse).change(tenant, Change(set=("quotas.series=3",)), "ann", "a small one")
    async with client_of(warehouse, tenant) as door:
        assert (await push(door, body(3, now))).status_code == 204
        answer = await push(door, body(5, now + 1))
        assert (answer.status_code, answer.headers["x-prometheus-remote-write-samples-written"]) == (400, "3")
        assert answer.json()["refused"] == {
            "the tenant has 3 series, and no more are taken (its setting quotas.series)": 2
        }
    async with client_of(warehouse, tenant) as door:  # another process of the gateway
        assert (await push(door, body(5, now + 2))).status_code == 400
    assert len(await stored(warehouse, tenant)) == 9


async def test_a_writer_too_many_is_told_to_come_again(warehouse: Warehouse, tenant: str) -> None:
    body = body_v1(series_v1(UP, [(ms(SYSTEM.now()), 1.0)]))
    async with client_of(warehouse, tenant, Limits(writes_at_once=1)) as door:
        answers = await asyncio.gather(*(push(door, body) for _ in range(4)))
    again = [answer for answer in answers if answer.status_code == 503]
    assert again
    assert all(answer.headers["retry-after"] == "1" for answer in again)
    assert any(answer.status_code == 204 for answer in answers)


async def test_a_series_belongs_to_the_tenant_of_the_key_alone(warehouse: Warehouse, door: httpx.AsyncClient) -> None:
    other = await new_tenant(warehouse)
    labels = [*UP, ("tenant", other)]
    assert (await push(door, body_v1(series_v1(labels, [(ms(SYSTEM.now()), 1.0)])))).status_code == 204
    async with warehouse.as_tenant(other) as db:
        assert (await db.execute(text("select count(*) from sample"))).scalar_one() == 0
        assert (await deliveries.since(other, db, deliveries.BEGINNING, SYSTEM.now() - timedelta(days=1)))[0] == []


async def test_a_full_disk_is_told_as_come_again_and_nothing_is_lost(
    database: Database, warehouse: Warehouse, door: httpx.AsyncClient, tenant: str
) -> None:
    now = SYSTEM.now()
    body = body_v1(series_v1(UP, [(ms(now), 1.0)]))
    # PostgreSQL's own code for it (53100), raised where the row would be written.
    full = """
        create function full_disk() returns trigger language plpgsql as
            $$ begin raise exception 'could not extend file: No space left on device' using errcode = '53100'; end $$;
        create trigger full_disk before insert on delivery for each row execute function full_disk()
    """
    with psycopg.connect(database.admin_url) as db:
        db.execute(full)
    try:
        answer = await push(door, body)
        assert (answer.status_code, int(answer.headers["retry-after"]) > 0) == (503, True)
        assert await stored(warehouse, tenant) == [], "neither half of it"
    finally:
        with psycopg.connect(database.admin_url) as db:
            db.execute("drop trigger full_disk on delivery; drop function full_disk")
    assert (await push(door, body)).status_code == 204
    assert len(await stored(warehouse, tenant)) == 1


def test_columns_are_those_of_the_samples() -> None:
    told = [Sample(UP_SERIES, SYSTEM.now(), 1.0), Sample(replace(UP_SERIES, metric="down"), SYSTEM.now(), 2.0)]
    columns = samples.columns_of(told)
    assert [columns.series[id_] for id_ in columns.ids.tolist()] == [sample.series for sample in told]
    assert [samples.moment(time) for time in columns.times.tolist()] == [sample.time for sample in told]


@pytest.mark.skipif(PROMETHEUS is None, reason="prometheus is not installed here")
async def test_a_real_prometheus_loses_nothing_though_gateway_and_postgresql_are_killed() -> None:
    began = SYSTEM.now()
    async with pushing() as pushed:
        await pushed.start_prometheus([])

        async def some_arrived() -> bool:
            return len(await pushed.held_by_warehouse(began)) > 1000

        await until(some_arrived, 60, "samples arrive")
        await pushed.kill_gateway()
        await pushed.kill_postgres()
        held, missing, repeated = await pushed.missing(began, "10m")
        assert held > 1000
        assert (missing, repeated) == ([], 0)
