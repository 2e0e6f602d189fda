"""Training sets on a real PostgreSQL: named, hashed, made again bit for bit, traced to entities and rows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import text

from feature_store.offline import join, labels_of
from feature_store.training_sets import Recipe, again, build, windows_of
from tasks.materialize import materialize
from tests.conftest import Database, new_tenant
from tests.integration.features import EDGE, EDGES, NOON, at, settle, telemetry
from tests.integration.waiting import until_one_waits
from tonewatch.clock import ManualClock, microseconds
from tonewatch.errors import FeatureError
from warehouse import features, training_sets
from warehouse.cache import Cache
from warehouse.database import Connection, Warehouse
from warehouse.migrate import as_owner
from warehouse.training_sets import TrainingSet

RECIPE = windows_of(EDGE, EDGES, NOON, at(110))
NO_CACHE = Cache(None)


@pytest.fixture
async def stocked(warehouse: Warehouse, tenant: str) -> str:
    """A tenant with rows up to second 110, made at 120; one edge lacks the samples of seconds 43 to 47."""
    await settle(warehouse, tenant, [sample for sample in telemetry(0, 120) if not late(sample)])
    await materialize(tenant, warehouse, NO_CACHE, ManualClock(at(120)))
    return tenant


def late(sample: object) -> bool:
    return sample.series.entity == EDGES[0] and at(42) < sample.time <= at(47)  # type: ignore[attr-defined]


async def test_the_same_rows_are_one_version_and_late_samples_make_the_next(stocked: str, warehouse: Warehouse) -> None:
    first, content = await build(stocked, warehouse, "edges", RECIPE, at(130))
    assert (await build(stocked, warehouse, "edges", RECIPE, at(131)))[0] == first
    await settle(warehouse, stocked, [sample for sample in telemetry(0, 120) if late(sample)])
    await materialize(stocked, warehouse, NO_CACHE, ManualClock(at(140)))
    second, other = await build(stocked, warehouse, "edges", RECIPE, at(150))
    assert (first.version, second.version) == (1, 2)
    assert first.hash != second.hash
    assert (content.coverage != other.coverage).sum() == 1
    remade = await again(stocked, warehouse, first, RECIPE)
    np.testing.assert_array_equal(remade.values, content.values)
    np.testing.assert_array_equal(remade.created, content.created)


async def test_the_same_content_by_another_request_is_another_version(stocked: str, warehouse: Warehouse) -> None:
    first, _ = await build(stocked, warehouse, "edges", RECIPE, at(130))
    other = replace(RECIPE, ttl=timedelta(seconds=5))
    second, _ = await build(stocked, warehouse, "edges", other, at(131))
    assert (second.version, second.hash) == (2, first.hash)
    assert second.request != first.request
    assert (await again(stocked, warehouse, second, other)).found.sum() == 33


async def test_an_erasure_reaches_sets_whose_labels_came_after_the_samples(stocked: str, warehouse: Warehouse) -> None:
    late_label = Recipe(EDGE, labels_of([(EDGES[0], at(157))]), ttl=timedelta(seconds=60))
    made, joined = await build(stocked, warehouse, "judged", late_label, at(160))
    assert joined.times.tolist() == [round(at(110).timestamp() * 1e6)]
    async with warehouse.as_tenant(stocked) as db:
        found = {
            span: await training_sets.holding(stocked, db, EDGES[0], at(span[0]), at(span[1]))
            for span in [(90, 100), (101, 105), (105, 120), (157, 170), (158, 170)]
        }
    # Its samples are those after 100; the label itself is of 157.
    assert [span for span, sets in found.items() if sets == [made]] == [(101, 105), (105, 120), (157, 170)]


class Ticking(ManualClock):
    """A clock by which each look takes a second."""

    def now(self) -> datetime:
        self.advance(1)
        return super().now()


class Visited(Warehouse):
    """A warehouse in which somebody builds a set before the run's next transaction, once rows are there."""

    built: TrainingSet | None = None

    def __init__(self, url: str, clock: Ticking) -> None:
        super().__init__(url)
        self.url, self.clock = url, clock

    @asynccontextmanager
    async def as_tenant(self, tenant: str) -> AsyncIterator[Connection]:
        if self.built is None:
            async with super().as_tenant(tenant) as db:
                there = (await features.span(tenant, db, EDGE.id)).rows
            if there:
                own = Warehouse(self.url)
                self.built, _ = await build(tenant, own, "edges", RECIPE, self.clock.now())
                await own.close()
        async with super().as_tenant(tenant) as db:
            yield db


async def test_a_set_built_while_rows_are_made_is_made_again_afterwards(
    warehouse: Warehouse, tenant: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await settle(warehouse, tenant, telemetry(0, 120))
    monkeypatch.setattr("tasks.materialize.STRETCH", timedelta(seconds=40))
    clock = Ticking(at(120))
    visited = Visited(database.app_url, clock)
    (done,) = await materialize(tenant, visited, NO_CACHE, clock)
    await visited.close()
    assert visited.built is not None
    assert 0 < visited.built.found < done.rows
    assert (await again(tenant, warehouse, visited.built, RECIPE)).found.sum() == visited.built.found
    # What nobody knew when the run began is not known to a label of that time.
    async with warehouse.as_tenant(tenant) as db:
        joined = await join(tenant, db, EDGE, labels_of([(EDGES[0], at(121))]), ttl=timedelta(minutes=5), known=True)
    assert not joined.found.any()


async def test_a_set_waits_for_rows_that_are_on_their_way(
    stocked: str, warehouse: Warehouse, database: Database
) -> None:
    one = features.FeatureColumns(
        EDGES[:1], np.array([0]), np.array([microseconds(at(110))]), np.ones(1), np.ones((1, len(EDGE.names)))
    )
    async with warehouse.as_tenant(stocked) as db:
        await features.put(stocked, db, EDGE.id, one, at(125))
        building = asyncio.create_task(build(stocked, warehouse, "edges", RECIPE, at(130)))
        await until_one_waits(database)
    _, joined = await building
    assert joined.created.max() == microseconds(at(125))


async def test_a_set_says_which_rows_it_was_made_of(stocked: str, warehouse: Warehouse) -> None:
    silent = windows_of(EDGE, [*EDGES, "edge:silent"], NOON, at(110))
    made, joined = await build(stocked, warehouse, "edges", silent, at(130))
    assert (made.labels, made.found, joined.without) == (44, 33, ("edge:silent",))
    assert made.entities == EDGES
    assert made.definition == EDGE.definition
    assert made.sources == {
        "feature_row": {
            "rows": 33,
            "first": at(10).isoformat(),
            "last": at(110).isoformat(),
            "created": at(120).isoformat(),
        },
        "sample": {"after": NOON.isoformat(), "last": at(110).isoformat()},
    }
    async with warehouse.as_tenant(stocked) as db:
        assert await training_sets.get(stocked, db, "edges") == made
        assert await training_sets.holding(stocked, db, EDGES[1], at(0), at(20)) == [made]
        assert await training_sets.holding(stocked, db, "edge:silent", at(0), at(20)) == []
        assert await training_sets.holding(stocked, db, EDGES[1], at(111), at(900)) == []


async def test_labels_of_people_get_the_window_before_them(stocked: str, warehouse: Warehouse) -> None:
    recipe = Recipe(EDGE, labels_of([(EDGES[0], at(57)), (EDGES[1], at(57))]))
    made, joined = await build(stocked, warehouse, "judged", recipe, at(130))
    assert set(joined.times.tolist()) == {round(at(50).timestamp() * 1e6)}
    assert made.sources["feature_row"]["rows"] == 2
    # What was known at 57: no row had been made by then.
    with pytest.raises(FeatureError, match=r"no label .* has a row of edge"):
        await build(stocked, warehouse, "judged-then", replace(recipe, known=True), at(130))


async def test_a_set_whose_rows_have_ended_is_not_made_again(
    stocked: str, warehouse: Warehouse, database: Database
) -> None:
    made, _ = await build(stocked, warehouse, "edges", RECIPE, at(130))
    with as_owner(database.admin_url) as db:
        db.execute(text("select set_config('app.tenant', :tenant, true)"), {"tenant": stocked})
        db.execute(text("select end_outlived_features(:before, 100)"), {"before": at(35)})
    with pytest.raises(FeatureError, match="edges version 1 cannot be made again: 24 of 33 rows"):
        await again(stocked, warehouse, made, RECIPE)


async def test_a_set_is_not_made_again_by_another_recipe(stocked: str, warehouse: Warehouse) -> None:
    made, _ = await build(stocked, warehouse, "edges", RECIPE, at(130))
    for other in (windows_of(EDGE, EDGES, NOON, at(100)), replace(RECIPE, known=True)):
        with pytest.raises(FeatureError, match="another recipe"):
            await again(stocked, warehouse, made, other)


@pytest.mark.parametrize(
    ("name", "recipe", "why"),
    [
        ("Edges!", RECIPE, "no name for a training set"),
        ("edges", Recipe(EDGE, labels_of([])), "no label"),
        ("edges", Recipe(EDGE, labels_of([(EDGES[0], at(131))])), "lies after now"),
        ("edges", replace(RECIPE, ttl=timedelta(0)), "time-to-live"),
        ("edges", windows_of(EDGE, ["edge:nobody"], NOON, at(110)), "no label .* has a row"),
    ],
)
async def test_what_cannot_be_made_is_refused_and_leaves_nothing(
    stocked: str, warehouse: Warehouse, name: str, recipe: Recipe, why: str
) -> None:
    with pytest.raises(FeatureError, match=why):
        await build(stocked, warehouse, name, recipe, at(130))
    async with warehouse.as_tenant(stocked) as db:
        assert await training_sets.listed(stocked, db) == []


async def test_another_tenants_rows_are_in_no_set(stocked: str, warehouse: Warehouse) -> None:
    other = await new_tenant(warehouse)
    async with warehouse.as_tenant(other) as db:
        await features.put_view(other, db, EDGE.stored, NOON)
    with pytest.raises(FeatureError, match="has a row"):
        await build(other, warehouse, "edges", RECIPE, at(130))
    with pytest.raises(FeatureError, match="none of it at all"):
        await build("nobody", warehouse, "edges", RECIPE, at(130))
