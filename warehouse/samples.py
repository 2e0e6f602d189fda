"""Samples: numbers of series in time, in partitions of one day each."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
from sqlalchemy import text

from tonewatch.records import Sample, Series, SeriesKind
from warehouse.arrays import Column, ColumnDumper
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
# security.) The batch comes sorted.
ADD = """
    insert into sample (tenant, retention, series, time, value)
    select %s, %s, n.* from unnest(%b::bigint[], %b::timestamptz[], %b::double precision[]) as n (series, time, value)
"""
ADD_MISSING = ADD + "on conflict do nothing returning series, time"
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
SERIES_BETWEEN = text("""
    select id, entity, metric, labels, unit, kind from series s
    where tenant = :tenant and exists (
        select from sample x
        where x.tenant = :tenant and x.retention = :retention and x.series = s.id
          and x.time >= :start and x.time < :end)
""")
COUNT_SERIES = text("select count(*) from series where tenant = :tenant")
SERIES_OF = text("select id, entity, metric, labels, unit, kind from series where tenant = :tenant and id = any(:ids)")
READ = """
    select series, time, value from sample
    where tenant = %s and retention = %s and series = any(%b::bigint[]) and time >= %s and time < %s
    order by series, time
"""

#: Series whose ids are remembered.
REMEMBERED = 262_144
_IDS: dict[int, tuple[Series, int]] = {}  # by the object's own id, which is its for as long as it is held here
_HELD: dict[int, Series] = {}  # by the series' id, the one object of it that is in _IDS
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DAY = timedelta(days=1) // _MICROSECOND

Driver = psycopg.AsyncConnection[tuple[Any, ...]]
Mask = npt.NDArray[np.bool_]


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
    return (await _store(tenant, db, _Batch(columns_of(samples)), retention))[0]


async def append_columns(tenant: str, db: Connection, columns: Columns, retention: str = "hot") -> Stored:
    """The same for samples that are columns already; tells besides which were new."""
    batch = _Batch(columns)
    appended, new = await _store(tenant, db, batch, retention)
    return Stored(appended, batch.kept.part(new))


async def _store(tenant: str, db: Connection, batch: _Batch, retention: str) -> tuple[Appended, Mask]:
    """Store the batch; what became of it, and of each of its samples whether it was new."""
    count = len(batch.kept.ids)
    if not count:
        return Appended(0, batch.repeated, batch.replaced, batch.refused), np.zeros(0, np.bool_)
    link = await driver(db)
    await link.execute(ENSURE_DAYS, [retention, batch.days()])
    await _add_series(tenant, db, batch)
    new = await _add(tenant, link, batch, retention)
    written, replaced = int(new.sum()), 0
    if written < count:
        values = [*batch.kept.arrays(), tenant, retention, *batch.span()]
        replaced = (await link.execute(REPLACE, values)).rowcount
    repeated = count - written - replaced
    return Appended(written, batch.repeated + repeated, batch.replaced + replaced, batch.refused), new


async def _add(tenant: str, link: Driver, batch: _Batch, retention: str) -> Mask:
    """Insert what is not there yet; tells of each sample of the batch whether it was new.

    As a rule nothing is, and a plain insert costs a third less than one that looks first; a repeat undoes it to the
    savepoint, and then each row is looked for.
    """
    kept = batch.kept
    values = [tenant, retention, *kept.arrays()]
    try:
        async with link.transaction():
            await link.execute(ADD, values)
        return np.ones(len(kept.ids), np.bool_)
    except psycopg.errors.UniqueViolation:
        found = await (await link.execute(ADD_MISSING, values, binary=True)).fetchall()
        new = {(series, (time - _EPOCH) // _MICROSECOND) for series, time in found}
        keys = zip(kept.ids.tolist(), kept.times.tolist(), strict=True)
        return np.fromiter((key in new for key in keys), np.bool_, len(kept.ids))


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
    link = await driver(db)
    values = [tenant, retention, sorted(known), utc(start), utc(end)]
    rows = await (await link.execute(READ, values, binary=True)).fetchall()
    return [Sample(known[series], time, value) for series, time, value in rows]


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Samples in columns of equal length, in the order in which they came.

    ids: Series.id of each; times: microseconds since 2000 (as PostgreSQL counts); values: any, those that are not
    finite are refused; series: what the ids mean, at least of those that may be new.
    """

    ids: npt.NDArray[np.int64]
    times: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    series: Mapping[int, Series]

    def part(self, chosen: Mask) -> Columns:
        """The samples that are chosen."""
        ids = self.ids[chosen]
        left = set(np.unique(ids).tolist())
        series = {id_: series for id_, series in self.series.items() if id_ in left}
        return Columns(ids, self.times[chosen], self.values[chosen], series)

    def arrays(self) -> list[Column]:
        """Series, times and values as arrays of PostgreSQL."""
        return [Column("bigint", self.ids), Column("timestamptz", self.times), Column("double precision", self.values)]


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """What became of columns, and those samples of them that were not there before, by series and time."""

    appended: Appended
    fresh: Columns


def columns_of(samples: Sequence[Sample]) -> Columns:
    """The samples as columns. Raises WarehouseError: a time without a zone."""
    known: dict[datetime, int] = {}
    ids = np.fromiter((series_id(sample.series) for sample in samples), np.int64, len(samples))
    times = np.fromiter((_known(known, sample.time) for sample in samples), np.int64, len(samples))
    values = np.fromiter((sample.value for sample in samples), np.float64, len(samples))
    series = dict(zip(ids.tolist(), (sample.series for sample in samples), strict=True))
    return Columns(ids, times, values, series)


class _Batch:
    """A batch in columns, one value per (series, time): the last one.

    Sorted by series, then time, so that two writers of the same keys queue up instead of locking each other out.
    """

    def __init__(self, columns: Columns) -> None:
        ids, times, values = columns.ids, columns.times, columns.values
        finite = np.isfinite(values)
        if not finite.all():
            ids, times, values = ids[finite], times[finite], values[finite]
        order = np.lexsort((times, ids))  # equal keys stay in the order in which they came
        ids, times, values = ids[order], times[order], values[order]
        changes = (ids[1:] != ids[:-1]) | (times[1:] != times[:-1])
        first, last = np.append(True, changes)[: len(ids)], np.append(changes, True)[: len(ids)]
        kept = values[last]
        same = values == kept[np.cumsum(first) - 1]
        self.refused = int(len(finite) - finite.sum())
        self.repeated, self.replaced = int((~last & same).sum()), int((~last & ~same).sum())
        self.kept = Columns(ids[last], times[last], kept, columns.series)

    def days(self) -> list[date]:
        """The days (UTC) of the samples, and the one after: made while it is empty, nothing has to wait for it."""
        days = {(_EPOCH + timedelta(days=day)).date() for day in np.unique(self.kept.times // _DAY).tolist()}
        last = max(days)
        return sorted(days | {last + timedelta(days=1)} if last < date.max else days)

    def span(self) -> tuple[datetime, datetime]:
        """The first and the last time."""
        return moment(int(self.kept.times.min())), moment(int(self.kept.times.max()))

    def first(self, id_: int) -> datetime:
        """The earliest time of a series."""
        return moment(int(self.kept.times[self.kept.ids.searchsorted(id_)]))


def moment(microseconds: int) -> datetime:
    """The time that PostgreSQL counts as so many microseconds since 2000."""
    return _EPOCH + timedelta(microseconds=microseconds)


def _known(known: dict[datetime, int], time: datetime) -> int:
    """Microseconds since 2000; most samples of a batch share a few moments. Raises WarehouseError: no time zone."""
    found = known.get(time)
    if found is None:
        found = known[time] = (utc(time) - _EPOCH) // _MICROSECOND
    return found


def series_id(series: Series) -> int:
    """`series.id`, remembered: it is a hash, and the same series come with every tick, most as the same objects."""
    held = _IDS.get(id(series))
    if held is None:
        if len(_IDS) >= REMEMBERED:
            _IDS.clear()
            _HELD.clear()
        held = _IDS[id(series)] = (series, _hashed(series))
        # Of a series that is a new object each time only the last is worth holding.
        former = _HELD.get(held[1])
        if former is not None:
            _IDS.pop(id(former), None)
        _HELD[held[1]] = series
    return held[1]


@lru_cache(maxsize=REMEMBERED)
def _hashed(series: Series) -> int:
    return series.id


async def missing(tenant: str, db: Connection, ids: Sequence[int] | npt.NDArray[np.int64]) -> list[int]:
    """Those of the ids that the tenant has no series of."""
    link = await driver(db)
    asked = Column("bigint", np.unique(np.asarray(ids, np.int64)))
    return [id_ for (id_,) in await (await link.execute(MISSING_SERIES, [asked, tenant])).fetchall()]


async def count_series(tenant: str, db: Connection) -> int:
    """How many series the tenant has."""
    return int((await db.execute(COUNT_SERIES, {"tenant": tenant})).scalar_one())


async def _add_series(tenant: str, db: Connection, batch: _Batch) -> None:
    # The database is asked each time: a memory of ours would be wrong after a rollback or a restored backup.
    rows = await missing(tenant, db, batch.kept.ids)
    if not rows:
        return
    new = [_series_row(id_, batch.kept.series[id_], batch.first(id_)) for id_ in rows]
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
    return _read_series((await db.execute(FIND_SERIES, values)).all())


async def series_between(
    tenant: str, db: Connection, start: datetime, end: datetime, retention: str = "hot"
) -> list[Series]:
    """The series that have a sample of start <= time < end, in no order."""
    values = {"tenant": tenant, "retention": retention, "start": utc(start), "end": utc(end)}
    return list(_read_series((await db.execute(SERIES_BETWEEN, values)).all()).values())


async def series_of(tenant: str, db: Connection, ids: Collection[int]) -> dict[int, Series]:
    """What the ids mean; one that the tenant does not have is left out."""
    return _read_series((await db.execute(SERIES_OF, {"tenant": tenant, "ids": list(ids)})).all())


def _read_series(rows: Sequence[Any]) -> dict[int, Series]:
    return {
        id_: Series(entity, metric, tuple((name, value) for name, value in labels), unit, SeriesKind(kind))
        for id_, entity, metric, labels, unit, kind in rows
    }


async def driver(db: Connection) -> Driver:
    """The driver's own connection of this transaction: what carries binary columns."""
    connection = (await db.get_raw_connection()).driver_connection
    assert isinstance(connection, psycopg.AsyncConnection)  # noqa: S101 - tells mypy the driver that database.py chose
    connection.adapters.register_dumper(Column, ColumnDumper)
    return connection
