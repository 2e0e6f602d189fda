"""The point-in-time join in PostgreSQL against loops that anyone can check: random rows, versions, labels, ties."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_store.offline import Joined, Labels, join, labels_of
from feature_store.views import View, view
from tests.conftest import new_tenant
from tonewatch.clock import MICROSECOND, microseconds, moment
from tonewatch.errors import FeatureError
from tonewatch.settings import load_profile
from warehouse import features
from warehouse.database import Warehouse
from warehouse.features import FeatureColumns

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
EDGE = view("edge", load_profile("demo"))
NAMES = ("edge:a", "edge:b", "edge:B", "edge:\u00e9")
WIDTH = len(EDGE.names)


@dataclass(frozen=True)
class Row:
    """One version of a window, as the naive join sees it."""

    entity: str
    time: datetime
    created: datetime
    numbers: tuple[float, ...]


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


async def keep(warehouse: Warehouse, tenant: str, rows: Sequence[Row], kept: View = EDGE) -> int:
    """Write the rows, one version after the other, as runs of materialisation do."""
    written = 0
    for created in sorted({row.created for row in rows}):
        some = [row for row in rows if row.created == created]
        names = sorted({row.entity for row in some})
        columns = FeatureColumns(
            names,
            np.array([names.index(row.entity) for row in some]),
            np.array([microseconds(row.time) for row in some]),
            np.ones(len(some)),
            np.array([row.numbers for row in some]),
        )
        async with warehouse.as_tenant(tenant) as db:
            await features.put_view(tenant, db, kept.stored, created)
            written += await features.put(tenant, db, kept.id, columns, created)
    return written


def naive(rows: Sequence[Row], entity: str, time: datetime, ttl: timedelta, *, known: bool) -> Row | None:
    """The row that a label gets, by looking at every row."""
    best = None
    for row in rows:
        if row.entity != entity or not time - ttl < row.time <= time or (known and row.created > time):
            continue
        if best is None or (row.time, row.created) > (best.time, best.created):
            best = row
    return best


def same(joined: Joined, expected: Sequence[Row | None]) -> None:
    wanted = np.array([row.numbers if row else (np.nan,) * WIDTH for row in expected]).reshape(-1, WIDTH)
    np.testing.assert_array_equal(joined.values, wanted)
    assert [moment(t) if found else None for t, found in zip(joined.times.tolist(), joined.found, strict=True)] == [
        row.time if row else None for row in expected
    ]
    assert [moment(t) if found else None for t, found in zip(joined.created.tolist(), joined.found, strict=True)] == [
        row.created if row else None for row in expected
    ]


numbers = st.tuples(*[st.sampled_from([0.0, -0.0, 1.5, -1e308, 5e-324, float("nan")])] * WIDTH)
seconds = st.integers(0, 40)
versions = st.dictionaries(st.tuples(st.sampled_from(NAMES[:3]), seconds, seconds), numbers, max_size=40)


@given(
    told=versions,
    asked=st.lists(st.tuples(st.sampled_from(NAMES), st.integers(-5, 60)), max_size=25),
    ttl=st.sampled_from([MICROSECOND, timedelta(seconds=1), timedelta(seconds=7), timedelta(days=9)]),
    known=st.booleans(),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_join_gives_each_label_what_the_naive_join_gives(
    warehouse: Warehouse,
    told: dict[tuple[str, int, int], tuple[float, ...]],
    asked: list[tuple[str, int]],
    ttl: timedelta,
    known: bool,
) -> None:
    tenant = await new_tenant(warehouse)
    rows = distinct([Row(entity, at(time), at(made), row) for (entity, time, made), row in told.items()])
    await keep(warehouse, tenant, rows)
    async with warehouse.as_tenant(tenant) as db:
        await features.put_view(tenant, db, EDGE.stored, NOON)
        joined = await join(tenant, db, EDGE, labels_of((name, at(time)) for name, time in asked), ttl=ttl, known=known)
    same(joined, [naive(rows, name, at(time), ttl, known=known) for name, time in asked])


def distinct(rows: Sequence[Row]) -> list[Row]:
    """Without the versions that say what the one before says: those are not kept."""
    kept: list[Row] = []
    for row in sorted(rows, key=lambda row: row.created):
        before = [each for each in kept if (each.entity, each.time) == (row.entity, row.time)]
        if not before or np.array(before[-1].numbers).tobytes() != np.array(row.numbers).tobytes():
            kept.append(row)
    return kept


def full(value: float) -> tuple[float, ...]:
    return (value,) * WIDTH


async def joined_at(warehouse: Warehouse, tenant: str, seconds: float, **how: bool | timedelta) -> float:
    async with warehouse.as_tenant(tenant) as db:
        found = await join(tenant, db, EDGE, labels_of([("edge:a", at(seconds))]), **how)  # type: ignore[arg-type]
    return float(found.values[0, 0])


async def test_a_row_that_ends_with_the_label_counts_and_one_a_microsecond_later_does_not(
    warehouse: Warehouse, tenant: str
) -> None:
    await keep(warehouse, tenant, [Row("edge:a", at(10), at(11), full(1.0)), Row("edge:a", at(20), at(21), full(2.0))])
    assert await joined_at(warehouse, tenant, 20) == 2.0
    assert await joined_at(warehouse, tenant, 20 - 1e-6) == 1.0
    assert np.isnan(await joined_at(warehouse, tenant, 9.999999))


async def test_a_row_as_old_as_its_time_to_live_is_not_joined(warehouse: Warehouse, tenant: str) -> None:
    await keep(warehouse, tenant, [Row("edge:a", at(10), at(11), full(1.0))])
    assert await joined_at(warehouse, tenant, 10 + EDGE.ttl.total_seconds() - 1e-6) == 1.0
    assert np.isnan(await joined_at(warehouse, tenant, 10 + EDGE.ttl.total_seconds()))


async def test_late_samples_version_is_seen_by_those_who_do_not_ask_what_was_known(
    warehouse: Warehouse, tenant: str
) -> None:
    await keep(warehouse, tenant, [Row("edge:a", at(10), at(11), full(1.0)), Row("edge:a", at(10), at(30), full(9.0))])
    assert await joined_at(warehouse, tenant, 12) == 9.0
    assert await joined_at(warehouse, tenant, 12, known=True) == 1.0
    assert await joined_at(warehouse, tenant, 30, known=True) == 9.0


async def test_a_correction_made_by_a_clock_that_was_set_back_is_still_the_newest(
    warehouse: Warehouse, tenant: str
) -> None:
    await keep(warehouse, tenant, [Row("edge:a", at(10), at(30), full(1.0))])
    await keep(warehouse, tenant, [Row("edge:a", at(10), at(20), full(2.0))])
    assert await joined_at(warehouse, tenant, 12) == 2.0


async def test_writing_the_same_rows_again_keeps_no_second_version(warehouse: Warehouse, tenant: str) -> None:
    rows = [Row("edge:a", at(10), at(11), full(float("nan"))), Row("edge:b", at(10), at(11), full(-0.0))]
    assert await keep(warehouse, tenant, rows) == 2
    assert await keep(warehouse, tenant, [replace(row, created=at(50)) for row in rows]) == 0


async def test_an_unknown_entity_has_no_numbers_and_is_named(warehouse: Warehouse, tenant: str) -> None:
    await keep(warehouse, tenant, [Row("edge:a", at(10), at(11), full(0.0))])
    async with warehouse.as_tenant(tenant) as db:
        found = await join(tenant, db, EDGE, labels_of([("edge:a", at(10)), ("edge:nobody", at(10))]))
    assert found.found.tolist() == [True, False]
    assert np.isnan(found.values[1]).all()
    assert np.isnan(found.coverage[1])
    assert found.without == ("edge:nobody",)


async def test_another_tenants_rows_are_not_joined(warehouse: Warehouse, tenant: str) -> None:
    await keep(warehouse, tenant, [Row("edge:a", at(10), at(11), full(1.0))])
    other = await new_tenant(warehouse)
    await keep(warehouse, other, [Row("edge:b", at(10), at(11), full(2.0))])
    assert np.isnan(await joined_at(warehouse, other, 12))


async def test_rows_of_another_definition_are_refused_and_told(warehouse: Warehouse, tenant: str) -> None:
    longer = view("edge", load_profile("platform"))
    await keep(warehouse, tenant, [Row("edge:a", at(10), at(11), full(1.0))], longer)
    with pytest.raises(FeatureError, match=f"windows of {EDGE.seconds:g} s.*rows of .*windows of {longer.seconds:g} s"):
        await joined_at(warehouse, tenant, 12)


async def test_more_labels_than_one_statement_takes_keep_their_order(
    warehouse: Warehouse, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "AT_ONCE", 7)
    chance = random.Random(3)
    rows = [Row(name, at(10 * n), at(10 * n), full(float(n))) for name in NAMES for n in range(20)]
    await keep(warehouse, tenant, rows)
    asked = [(chance.choice(NAMES), at(chance.uniform(-5, 250))) for _ in range(100)]
    async with warehouse.as_tenant(tenant) as db:
        joined = await join(tenant, db, EDGE, labels_of(asked))
    same(joined, [naive(rows, name, time, EDGE.ttl, known=False) for name, time in asked])


def test_a_label_without_a_time_zone_is_refused() -> None:
    with pytest.raises(FeatureError, match="no zone"):
        labels_of([("edge:a", datetime(2026, 1, 1))])  # noqa: DTZ001 - the case itself


def test_no_labels_have_no_span() -> None:
    with pytest.raises(FeatureError, match="no label"):
        _ = Labels((), np.zeros(0, np.int64), np.zeros(0, np.int64)).span
