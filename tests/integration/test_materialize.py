"""Samples become rows of features on a real PostgreSQL: as the live watcher sees them, once, also after a crash."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import text

from feature_store import offline
from feature_store.contracts import Clause
from feature_store.recent import Recent
from tasks import materialize as made_by
from tasks.materialize import materialize
from tests.conftest import Database, new_tenant
from tests.integration.features import EDGE, EDGES, NOON, at, settle, telemetry
from tonewatch.clock import ManualClock, microseconds
from tonewatch.errors import FeatureError, WarehouseAway
from tonewatch.records import Sample, Series
from warehouse import cursors, entities, samples
from warehouse.cache import Cache
from warehouse.database import Connection, Warehouse

NO_CACHE = Cache(None)
#: Up to here a run at second 120 makes windows.
DONE = at(110)


async def run(warehouse: Warehouse, tenant: str, now: datetime, since: datetime | None = None) -> tuple[int, int]:
    """Windows gone through, rows written."""
    (done,) = await materialize(tenant, warehouse, NO_CACHE, ManualClock(now), since=since)
    return done.windows, done.rows


async def kept(warehouse: Warehouse, tenant: str) -> list[tuple[object, ...]]:
    """Every row but for when it was made."""
    query = "select entity, time, coverage, numbers from feature_row where tenant = :tenant order by 1, 2, created"
    async with warehouse.as_tenant(tenant) as db:
        return [tuple(row) for row in await db.execute(text(query), {"tenant": tenant})]


def live(told: Sequence[Sample], ends: Sequence[datetime]) -> tuple[np.ndarray, np.ndarray]:
    """What a watcher that takes the samples second by second sees at each end: (windows, entities, features)."""
    recent = Recent(timedelta(seconds=60))
    values, coverage = [], []
    for second in range(-20, 121):
        recent.add([sample for sample in told if sample.time == at(second)])
        recent.forget(at(second))
        if at(second) in ends:
            frame = recent.features("edge", [at(second)], EDGE.seconds, entities=EDGES, every=EDGE.every)
            values.append(frame.values)
            coverage.append(frame.coverage)
    return np.array(values), np.array(coverage)


async def test_rows_are_bit_for_bit_what_the_live_watcher_saw(warehouse: Warehouse, tenant: str) -> None:
    chance = random.Random(7)
    told = [sample for sample in telemetry(0, 120) if chance.random() < 0.8]
    await settle(warehouse, tenant, told)
    windows, rows = await run(warehouse, tenant, at(120))
    assert (windows, rows) == (33, 33)
    async with warehouse.as_tenant(tenant) as db:
        frame = await offline.frame(tenant, db, EDGE, EDGES, NOON, DONE)
    ends = [at(second) for second in range(10, 111, 10)]
    values, coverage = live(told, ends)
    assert frame.ends == tuple(ends) * 3
    assert not np.isnan(frame.values).all(axis=1).any()
    np.testing.assert_array_equal(frame.values.reshape(3, 11, -1).view("u8"), values.swapaxes(0, 1).view("u8"))
    np.testing.assert_array_equal(frame.coverage.reshape(3, 11), coverage.T)


async def test_a_repeat_and_runs_that_broke_off_give_the_rows_of_one_run(
    warehouse: Warehouse, tenant: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = await new_tenant(warehouse)
    for each in (tenant, whole):
        await settle(warehouse, each, telemetry(0, 120))
    await run(warehouse, whole, at(120))
    monkeypatch.setattr(made_by, "STRETCH", timedelta(seconds=40))
    counts = []
    for last in (7, 10, 12):
        breaking = Breaking(database.app_url)
        breaking.last = last
        with pytest.raises(WarehouseAway, match="broke off"):
            await run(breaking, tenant, at(120))
        await breaking.close()
        counts.append(len(await kept(warehouse, tenant)))
    monkeypatch.undo()
    assert counts[0] == 0
    assert any(0 < count < 33 for count in counts)
    await run(warehouse, tenant, at(121))
    assert await kept(warehouse, tenant) == await kept(warehouse, whole)
    assert (await run(warehouse, tenant, at(122)))[1] == 0
    assert await kept(warehouse, tenant) == await kept(warehouse, whole)


class Breaking(Warehouse):
    """A warehouse whose connection breaks off as the transaction of the `last` visit would commit."""

    last = 0

    @asynccontextmanager
    async def as_tenant(self, tenant: str) -> AsyncIterator[Connection]:
        self.last -= 1
        async with super().as_tenant(tenant) as db:
            yield db
            if self.last == 0:
                raise WarehouseAway("broke off")


async def test_late_samples_make_a_second_version_of_the_windows_that_they_touch(
    warehouse: Warehouse, tenant: str
) -> None:
    told = telemetry(0, 240)
    late = [sample for sample in told if sample.series.entity == EDGES[0] and at(42) < sample.time <= at(47)]
    await settle(warehouse, tenant, [sample for sample in told if sample not in late])
    await run(warehouse, tenant, at(120))
    await settle(warehouse, tenant, late)
    assert (await run(warehouse, tenant, at(240)))[1] == 36 + 1
    labels = offline.labels_of([(EDGES[0], at(50)), (EDGES[0], at(130))])
    async with warehouse.as_tenant(tenant) as db:
        joined = await offline.join(tenant, db, EDGE, labels)
        known = await offline.join(tenant, db, EDGE, labels, created_by=at(120))
    assert joined.coverage[0] > known.coverage[0] > 0
    assert joined.found.tolist() == [True, True]
    # What was known at 120 of 130: the window that ended at 110.
    assert offline.moment(int(known.times[1])) == at(110)


async def test_a_first_run_begins_where_samples_do_and_the_next_where_it_ended(
    warehouse: Warehouse, tenant: str
) -> None:
    await settle(warehouse, tenant, telemetry(0, 120))
    assert (await run(warehouse, tenant, at(120)))[1] == 33
    async with warehouse.as_tenant(tenant) as db:
        assert await cursors.get(tenant, db, f"features:{EDGE.id}") == {"time": DONE.isoformat()}
    assert (await run(warehouse, tenant, at(120), since=at(60)))[1] == 0
    with pytest.raises(FeatureError, match="nothing can be made from"):
        await run(warehouse, tenant, at(120), since=at(120))


async def test_a_clock_that_ran_ahead_and_was_set_right_leaves_no_window_out(
    warehouse: Warehouse, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(made_by, "HOT", timedelta(hours=2))
    monkeypatch.setattr(made_by, "LAST_LOOK", timedelta(hours=1))
    await settle(warehouse, tenant, telemetry(0, 60))
    await run(warehouse, tenant, at(60))
    ahead = await materialize(tenant, warehouse, NO_CACHE, ManualClock(at(400 * 86_400)))
    assert ahead[0].rows == 0
    assert Clause.FRESH in {breach.clause for breach in ahead[0].broken}
    await settle(warehouse, tenant, telemetry(60, 120))
    await run(warehouse, tenant, at(120))
    assert len(await kept(warehouse, tenant)) == 33
    async with warehouse.as_tenant(tenant) as db:
        assert await cursors.get(tenant, db, f"features:{EDGE.id}") == {"time": DONE.isoformat()}


async def test_windows_of_the_future_are_not_made(warehouse: Warehouse, tenant: str) -> None:
    await settle(warehouse, tenant, telemetry(0, 120))
    await run(warehouse, tenant, at(60))
    assert {row[1] for row in await kept(warehouse, tenant)} == {at(second) for second in range(10, 51, 10)}


async def test_a_window_whose_samples_have_ended_keeps_the_row_that_it_has(
    warehouse: Warehouse, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(made_by, "HOT", timedelta(hours=1))
    await settle(warehouse, tenant, telemetry(0, 120))
    await run(warehouse, tenant, at(120))
    before = await kept(warehouse, tenant)
    async with warehouse.as_tenant(tenant) as db:
        await samples.append(tenant, db, [Sample(Series(EDGES[0], "scrape_seconds"), at(3600 + 200), 0.5)])
    later = at(3600 + 300)
    await run(warehouse, tenant, later, since=NOON)
    assert [row for row in await kept(warehouse, tenant) if row[1] <= at(120)] == before  # type: ignore[operator]


async def test_numbers_that_break_the_contract_are_kept_and_told(warehouse: Warehouse, tenant: str) -> None:
    spoilt = [Sample(s.series, s.time, -50.0) if s.series.metric == "scrape_seconds" else s for s in telemetry(0, 120)]
    await settle(warehouse, tenant, spoilt)
    (done,) = await materialize(tenant, warehouse, NO_CACHE, ManualClock(at(120)))
    assert [(each.clause, each.feature, each.count) for each in done.broken] == [
        (Clause.RANGE, "scrape_seconds_mean", 33)
    ]
    assert done.rows == 33


async def test_windows_in_which_the_watcher_starved_are_kept_as_not_judged(warehouse: Warehouse, tenant: str) -> None:
    starved = Sample(Series("host:watcher", "host_starved_seconds"), at(45), 1.0)
    spoilt = [
        replace(each, value=-50.0) if each.series.metric == "scrape_seconds" and at(40) < each.time <= at(50) else each
        for each in telemetry(0, 120)
    ]
    await settle(warehouse, tenant, [*spoilt, starved])
    (done,) = await materialize(tenant, warehouse, NO_CACHE, ManualClock(at(120)))
    async with warehouse.as_tenant(tenant) as db:
        frame = await offline.frame(tenant, db, EDGE, EDGES[:1], NOON, DONE)
        values, times = await offline.rows(tenant, db, EDGE, NOON, DONE)
    assert [end for end, coverage in zip(frame.ends, frame.coverage, strict=True) if coverage == 0] == [at(50)]
    assert done.rows == 33
    # The contract does not look at them, neither here nor by Great Expectations.
    assert done.broken == ()
    assert (len(values), microseconds(at(50)) in times) == (30, False)


async def test_a_part_that_went_away_gets_its_last_windows(warehouse: Warehouse, tenant: str) -> None:
    told = telemetry(0, 120)
    await settle(warehouse, tenant, [s for s in told if s.series.entity != EDGES[2] or s.time <= at(60)])
    async with warehouse.as_tenant(tenant) as db:
        await entities.end(tenant, db, [EDGES[2]], at(62))
    (done,) = await materialize(tenant, warehouse, NO_CACHE, ManualClock(at(120)))
    assert (done.entities, done.rows) == (3, 22 + 6)
    async with warehouse.as_tenant(tenant) as db:
        _, times = await offline.rows(tenant, db, EDGE, NOON, DONE)
        _, later = await offline.rows(tenant, db, EDGE, at(70), DONE)
    assert (len(times), len(later)) == (22 + 6, 8)


async def test_parts_that_are_all_gone_get_their_last_windows(warehouse: Warehouse, tenant: str) -> None:
    await settle(warehouse, tenant, telemetry(0, 60))
    async with warehouse.as_tenant(tenant) as db:
        await entities.end(tenant, db, EDGES, at(60))
    assert (await run(warehouse, tenant, at(120)))[1] == 18


async def test_a_view_that_there_is_not_is_refused_with_those_that_there_are(warehouse: Warehouse, tenant: str) -> None:
    with pytest.raises(FeatureError, match="no view 'egde'; views are source"):
        await materialize(tenant, warehouse, NO_CACHE, ManualClock(at(120)), names=["egde"])


async def test_a_tenant_without_entities_has_nothing_to_make(warehouse: Warehouse, tenant: str) -> None:
    assert await materialize(tenant, warehouse, NO_CACHE, ManualClock(at(120))) == []
