"""Deliveries: the samples that were pushed at the door and that the watcher has still to read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import text

from tonewatch.errors import WarehouseError
from tonewatch.records import Sample
from warehouse import samples
from warehouse.database import Connection
from warehouse.rows import utc

PUT = """
    insert into delivery (tenant, received, samples, series, times, numbers) values (%s, %s, %s, %b, %b, %b)
"""
# Only what every transaction that still runs comes after: else a slow one's delivery would be passed over. At least one
# delivery, then as many as have no more samples than asked for.
SINCE = """
    with waiting as (
        select xid, id, sum(samples) over (order by xid, id) - samples as before from delivery
        where tenant = %s and (xid, id) > (%s::text::xid8, %s) and xid < pg_snapshot_xmin(pg_current_snapshot())
            and received >= %s
    )
    select d.xid::text::bigint, d.id, d.series, d.times, d.numbers
    from waiting join delivery d using (xid, id)
    where d.tenant = %s and waiting.before < %s
    order by d.xid, d.id limit 1000
"""
FORGET = text("""
    delete from delivery where tenant = :tenant and (xid, id) <= (cast(cast(:xid as text) as xid8), :id)
""")

#: Where a reader stands: the transaction and the delivery that it has read last.
Position = tuple[int, int]
BEGINNING: Position = (0, 0)


async def put(tenant: str, db: Connection, columns: samples.Columns, received: datetime) -> None:
    """Keep one request's samples for the watcher."""
    link = await samples.driver(db)
    await link.execute(PUT, [tenant, utc(received), len(columns.ids), *columns.arrays()])


async def since(
    tenant: str, db: Connection, position: Position, received_after: datetime, most: int = 100_000
) -> tuple[list[Sample], Position]:
    """The samples of the deliveries after `position`, some `most` of them, and the position to go on from.

    In the order in which their transactions began; none is skipped but those that were received before
    `received_after`, and none comes twice.
    """
    link = await samples.driver(db)
    values = [tenant, str(position[0]), position[1], utc(received_after), tenant, most]
    found = await (await link.execute(SINCE, values, binary=True)).fetchall()
    if not found:
        return [], position
    ids = sorted({id_ for _, _, series, _, _ in found for id_ in series})
    known = await samples.series_of(tenant, db, ids)
    brought = [
        Sample(known[id_], time, value)
        for _, _, series, times, numbers in found
        for id_, time, value in zip(series, times, numbers, strict=True)
    ]
    return brought, (found[-1][0], found[-1][1])


def position(told: Sequence[int]) -> Position:
    """A position as a cursor kept it. Raises WarehouseError: it is none."""
    if len(told) != 2 or not all(isinstance(part, int) for part in told):
        raise WarehouseError(f"{told!r} is no position among the deliveries: two whole numbers")
    return told[0], told[1]


async def forget(tenant: str, db: Connection, position: Position) -> int:
    """Delete what was read up to `position`; gives how many deliveries."""
    values: dict[str, Any] = {"tenant": tenant, "xid": str(position[0]), "id": position[1]}
    return (await db.execute(FORGET, values)).rowcount
