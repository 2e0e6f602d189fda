"""Roll-ups: what is left of samples when they are no longer hot, one row per series and five minutes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import text

from tonewatch.errors import WarehouseError
from warehouse.database import Connection
from warehouse.rows import utc

STEP = timedelta(minutes=5)
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)

# A step is made anew as a whole, so that a late sample and a second run make the same row. avg() squares its values on
# the way and ends in an error where they are beyond 1e154: one such value must not stop the roll-up of everything.
ROLL_UP = text("""
    insert into rollup (tenant, series, time, samples, low, high, mean, last)
    select :tenant, series, date_bin('5 minutes', time, timestamptz '2000-01-01 00:00:00+00'), count(*), min(value),
        max(value), avg(greatest(least(value, 1e150), -1e150)), (array_agg(value order by time desc))[1]
    from sample
    where tenant = :tenant and retention = 'hot' and time >= :since and time < :until
    group by 2, 3
    on conflict (tenant, series, time) do update
    set samples = excluded.samples, low = excluded.low, high = excluded.high, mean = excluded.mean, last = excluded.last
    where (rollup.samples, rollup.low, rollup.high, rollup.mean, rollup.last)
        is distinct from (excluded.samples, excluded.low, excluded.high, excluded.mean, excluded.last)
""")
READ = text("""
    select series, time, samples, low, high, mean, last from rollup
    where tenant = :tenant and series = any(:series) and time >= :since and time < :until order by series, time
""")
EARLIEST = text("select min(time) from sample where tenant = :tenant and retention = 'hot' and time >= :since")


@dataclass(frozen=True, slots=True)
class Rollup:
    """Five minutes of one series from `time` on: how many samples, their least, greatest, mean and last value.

    In the mean values beyond 1e150 count as that.
    """

    series: int
    time: datetime
    samples: int
    low: float
    high: float
    mean: float
    last: float


def step_of(time: datetime) -> datetime:
    """The beginning of the five minutes in which `time` lies."""
    return _EPOCH + (utc(time) - _EPOCH) // STEP * STEP


async def make(tenant: str, db: Connection, since: datetime, until: datetime) -> int:
    """Roll up the hot samples with since <= time < until; gives how many rows are new or read differently now.

    Raises WarehouseError: a time that is no beginning of five minutes; a part of a step would count as the whole.
    """
    if step_of(since) != since or step_of(until) != until:
        raise WarehouseError(f"{since.isoformat()} to {until.isoformat()} are no whole steps of five minutes")
    return (await db.execute(ROLL_UP, {"tenant": tenant, "since": since, "until": until})).rowcount


async def earliest(tenant: str, db: Connection, since: datetime) -> datetime | None:
    """When the tenant's hot samples from `since` on begin; None: there are none. Goes through all of them."""
    found: datetime | None = (await db.execute(EARLIEST, {"tenant": tenant, "since": utc(since)})).scalar_one()
    return found


async def read(tenant: str, db: Connection, series: list[int], since: datetime, until: datetime) -> list[Rollup]:
    """The roll-ups of the series with since <= time < until, by series, then time."""
    values = {"tenant": tenant, "series": series, "since": utc(since), "until": utc(until)}
    return [Rollup(**each) for each in (await db.execute(READ, values)).mappings()]
