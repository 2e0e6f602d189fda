"""The samples in PostgreSQL against a dict: whatever comes in whatever order, both hold the same and count the same."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import new_tenant
from tonewatch.records import Sample, Series, SeriesKind
from warehouse import samples
from warehouse.database import Warehouse

START = datetime(2026, 2, 27, 23, 59, 59, tzinfo=UTC)
END = START + timedelta(days=3)

# Few series, times and values, so that they meet; over midnight, to the microsecond, and a day nobody made ready.
series = st.builds(
    Series,
    entity=st.sampled_from(["component:a", "edge:b"]),
    metric=st.sampled_from(["up", "lag"]),
    labels=st.sampled_from([(), (("a", "1"),), (("a", "1"), ("ü", "'\"\\"))]),
    kind=st.just(SeriesKind.COUNTER),
)
times = st.sampled_from([START + timedelta(microseconds=step) for step in (0, 1, 999_999, 1_000_000)] + [END])
values = st.sampled_from([0.0, -0.0, 1.0, 0.1 + 0.2, 5e-324, -1.7e308, math.nan, math.inf])
batches = st.lists(st.builds(Sample, series=series, time=times, value=values), max_size=12)

Stored = dict[tuple[Series, datetime], float]


def naive_append(stored: Stored, batch: list[Sample]) -> samples.Appended:
    """What append must do, as slowly and plainly as can be."""
    finite = [sample for sample in batch if math.isfinite(sample.value)]
    written = repeated = replaced = 0
    for position, sample in enumerate(finite):
        key = (sample.series, sample.time)
        same = [later for later in finite[position + 1 :] if (later.series, later.time) == key]
        last = same[-1].value if same else sample.value
        if same:  # superseded within its batch
            repeated, replaced = (repeated + 1, replaced) if sample.value == last else (repeated, replaced + 1)
        elif key not in stored:
            written += 1
            stored[key] = sample.value
        elif stored[key] == sample.value:
            repeated += 1
        else:
            replaced += 1
            stored[key] = sample.value
    return samples.Appended(written, repeated, replaced, len(batch) - len(finite))


def naive_read(stored: Stored, start: datetime, end: datetime) -> list[Sample]:
    found = [Sample(each, time, value) for (each, time), value in stored.items() if start <= time < end]
    return sorted(found, key=lambda sample: (sample.series.id, sample.time))


@given(history=st.lists(st.tuples(batches, st.booleans()), max_size=6), start=times, end=times)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_samples_in_postgresql_are_those_of_a_dict(
    warehouse: Warehouse, history: list[tuple[list[Sample], bool]], start: datetime, end: datetime
) -> None:
    tenant = await new_tenant(warehouse)
    stored: Stored = {}
    for batch, commits in history:
        try:
            async with warehouse.as_tenant(tenant) as db:
                planned = dict(stored)
                assert await samples.append(tenant, db, batch) == naive_append(planned, batch)
                if not commits:
                    raise ZeroDivisionError
                stored = planned
        except ZeroDivisionError:
            pass
    async with warehouse.as_tenant(tenant) as db:
        for window in ((START, END + timedelta(days=1)), (start, end)):
            assert await samples.read(tenant, db, *window) == naive_read(stored, *window)


@given(batch=batches)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_a_batch_appended_twice_is_there_once(warehouse: Warehouse, batch: list[Sample]) -> None:
    tenant = await new_tenant(warehouse)
    # The last value per key: what a batch that repeats itself with other values leaves behind.
    finite = {(each.series, each.time): each for each in batch if math.isfinite(each.value)}
    async with warehouse.as_tenant(tenant) as db:
        first = await samples.append(tenant, db, batch)
        again = await samples.append(tenant, db, list(finite.values()))
        assert first.written == len(finite)
        assert again == samples.Appended(repeated=len(finite))
        changed = [replace(each, value=7.5) for each in finite.values()]
        assert await samples.append(tenant, db, changed) == samples.Appended(replaced=len(finite))
