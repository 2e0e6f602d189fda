"""Samples: numbers of series in time, in partitions of one day each."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any

import psycopg
from sqlalchemy import text

from tonewatch.records import Sample, Series, SeriesKind
from warehouse.database import Connection
from warehouse.rows import packed, utc

ENSURE_DAYS = "select ensure_sample_partition(%s, day) from unnest(%s::date[]) as day"
MISSING_SERIES = """
    select id from unnest(%b::bigint[]) as id
    where not exists (select from series s where s.tenant = %s and s.id = id.id)
"""
ADD_SERIES = text("""
    insert into series (tenant, id, entity, metric, labels, unit, kind, first_seen)
    select :tenant, n.* from jsonb_to_recordset(cast(:rows as jsonb))
        as n (id bigint, entity text, metric text, labels jsonb, unit text, kind text, first_seen timestamptz)
    order by n.id
    on conflict do nothing
""")
# One statement with arrays in binary: measured faster for the batches of a tick than COPY into a temporary table,
# which besides wears the catalogue down with a table per tick. (COPY straight into sample is refused under row-level
# security.) Sorted, so that two writers of the same keys queue up instead of locking each other out.
ADD = """
    insert into sample (tenant, retention, series, time, value)
    select %s, %s, n.* from unnest(%b::bigint[], %b::timestamptz[], %b::double precision[]) as n (series, time, value)
    order by n.series, n.time
    on conflict do nothing
"""
REPLACE = """
    update sample s set value = n.value
    from unnest(%b::bigint[], %b::timestamptz[], %b::double precision[]) as n (series, time, value)
    where s.tenant = %s and s.retention = %s and s.series = n.series and s.time = n.time and s.value <> n.value
      and s.time between %s and %s
"""
FIND_SERIES = text("""
    select id, entity, metric, labels, unit, kind from series
    where tenant = :tenant and (cast(:entities as text[]) is null or entity = any(:entities))
      and (cast(:metrics as text[]) is null or metric = any(:metrics))
""")
READ = """
    select series, time, value from sample
    where tenant = %s and retention = %s and series = any(%b::bigint[]) and time >= %s and time < %s
    order by series, time
"""

Keys = tuple[list[int], list[datetime], list[float]]


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of a batch; the four numbers add up to its length.

    written: stored under a new (series, time); repeated: it was there already; replaced: another value was there, or
    came earlier in the same batch, and the last one counts; refused: NaN or infinite, stored nowhere.
    """

    written: int = 0
    repeated: int = 0
    replaced: int = 0
    refused: int = 0


async def append(tenant: str, db: Connection, samples: Sequence[Sample], retention: str = "hot") -> Appended:
    """Store the samples, and their series where those are new.

    Raises WarehouseError: a time without a zone.
    """
    batch = _Batch(samples)
    if not batch.kept:
        return Appended(repeated=batch.repeated, replaced=batch.replaced, refused=batch.refused)
    driver = await _driver(db)
    await driver.execute(ENSURE_DAYS, [retention, batch.days()])
    await _add_series(tenant, db, batch)
    keys = batch.columns()
    written = (await driver.execute(ADD, [tenant, retention, *keys])).rowcount
    replaced = 0
    if written < len(batch.kept):
        first, last = min(keys[1]), max(keys[1])
        replaced = (await driver.execute(REPLACE, [*keys, tenant, retention, first, last])).rowcount
    repeated = len(batch.kept) - written - replaced
    return Appended(written, batch.repeated + repeated, batch.replaced + replaced, batch.refused)


async def read(
    tenant: str,
    db: Connection,
    start: datetime,
    end: datetime,
    *,
    entities: Collection[str] | None = None,
    metrics: Collection[str] | None = None,
    retention: str = "hot",
) -> list[Sample]:
    """The samples with start <= time < end, in the order of series id, then time; None: of all entities or metrics."""
    known = await _series(tenant, db, entities, metrics)
    driver = await _driver(db)
    values = [tenant, retention, sorted(known), utc(start), utc(end)]
    rows = await (await driver.execute(READ, values, binary=True)).fetchall()
    return [Sample(known[series], time, value) for series, time, value in rows]


class _Batch:
    """A batch with one value per (series, time): the last one."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self.kept: dict[tuple[int, datetime], float] = {}
        self.series: dict[int, Series] = {}
        self.refused = self.repeated = self.replaced = 0
        superseded: list[tuple[tuple[int, datetime], float]] = []
        for sample in samples:
            value = float(sample.value)
            if not math.isfinite(value):
                self.refused += 1
                continue
            id_ = series_id(sample.series)
            key = (id_, utc(sample.time))
            if key in self.kept:
                superseded.append((key, self.kept[key]))
            self.series.setdefault(id_, sample.series)
            self.kept[key] = value
        for key, value in superseded:
            if value == self.kept[key]:
                self.repeated += 1
            else:
                self.replaced += 1

    def columns(self) -> Keys:
        return [key[0] for key in self.kept], [key[1] for key in self.kept], list(self.kept.values())

    def days(self) -> list[date]:
        """The days (UTC) of the samples, and the one after: made while it is empty, nothing has to wait for it."""
        days = {time.date() if time.tzinfo is UTC else time.astimezone(UTC).date() for _, time in self.kept}
        last = max(days)
        return sorted(days | {last + timedelta(days=1)} if last < date.max else days)

    def first_seen(self) -> dict[int, datetime]:
        first: dict[int, datetime] = {}
        for id_, time in self.kept:
            if id_ not in first or time < first[id_]:
                first[id_] = time
        return first


@lru_cache(maxsize=65536)
def series_id(series: Series) -> int:
    """`series.id`, remembered: it is a hash, and the same few thousand series come with every tick."""
    return series.id


async def _add_series(tenant: str, db: Connection, batch: _Batch) -> None:
    # The database is asked each time: a memory of ours would be wrong after a rollback or a restored backup.
    driver = await _driver(db)
    rows = await (await driver.execute(MISSING_SERIES, [list(batch.series), tenant])).fetchall()
    if not rows:
        return
    first = batch.first_seen()
    new = [_series_row(id_, batch.series[id_], first[id_]) for (id_,) in rows]
    await db.execute(ADD_SERIES, {"tenant": tenant, "rows": packed(new)})


def _series_row(id_: int, series: Series, first: datetime) -> dict[str, Any]:
    named = {"entity": series.entity, "metric": series.metric, "labels": series.labels}
    return {"id": id_, "unit": series.unit, "kind": series.kind, "first_seen": first, **named}


async def _series(
    tenant: str, db: Connection, entities: Collection[str] | None, metrics: Collection[str] | None
) -> dict[int, Series]:
    values = {
        "tenant": tenant,
        "entities": None if entities is None else list(entities),
        "metrics": None if metrics is None else list(metrics),
    }
    return {
        id_: Series(entity, metric, tuple((name, value) for name, value in labels), unit, SeriesKind(kind))
        for id_, entity, metric, labels, unit, kind in (await db.execute(FIND_SERIES, values)).all()
    }


async def _driver(db: Connection) -> psycopg.AsyncConnection[tuple[Any, ...]]:
    connection = (await db.get_raw_connection()).driver_connection
    assert isinstance(connection, psycopg.AsyncConnection)  # noqa: S101 - tells mypy the driver that database.py chose
    return connection
