"""Events: who asked for, logged in to or played what. Subjects and addresses come as pseudonyms."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import text

from tonewatch.records import Event, EventKind
from warehouse.database import Connection
from warehouse.rows import packed, row, utc

COLUMNS = "id, kind, time, subject, address, path, status, bytes, agent, outcome, method, track, channel, seconds"
SAVE = text(f"""
    insert into event (tenant, arrived, {COLUMNS})
    select :tenant, :arrived, n.* from jsonb_to_recordset(cast(:rows as jsonb)) as n (id text, kind text,
        time timestamptz, subject text, address text, path text, status integer, bytes bigint, agent text, outcome text,
        method text, track text, channel text, seconds double precision)
    order by n.id
    on conflict do nothing
""")  # noqa: S608 - a constant
READ = text(f"""
    select {COLUMNS} from event
    where tenant = :tenant and time >= :start and time < :end and kind = any(:kinds) order by time, id
""")  # noqa: S608 - a constant


async def save(tenant: str, db: Connection, events: Sequence[Event], arrived: datetime) -> int:
    """Keep the events; gives how many were new: of one id the first stays."""
    if not events:
        return 0
    values = {"tenant": tenant, "arrived": utc(arrived), "rows": packed(row(event) for event in events)}
    return (await db.execute(SAVE, values)).rowcount


async def read(
    tenant: str, db: Connection, start: datetime, end: datetime, kinds: Collection[EventKind] = tuple(EventKind)
) -> list[Event]:
    """The events with start <= time < end, in the order of time."""
    values = {"tenant": tenant, "start": utc(start), "end": utc(end), "kinds": list(kinds)}
    found = (await db.execute(READ, values)).mappings()
    return [Event(**{**each, "kind": EventKind(each["kind"])}) for each in found]
