"""Changes: what people or machines changed on the platform."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import text

from tonewatch.records import Change
from warehouse.database import Connection
from warehouse.rows import packed, row, utc

SAVE = text("""
    insert into change (tenant, id, kind, entity, started, ended, author, summary)
    select :tenant, n.* from jsonb_to_recordset(cast(:rows as jsonb)) as n (id text, kind text, entity text,
        started timestamptz, ended timestamptz, author text, summary text)
    order by n.id
    on conflict (tenant, id) do update set kind = excluded.kind, entity = excluded.entity, started = excluded.started,
        ended = excluded.ended, author = excluded.author, summary = excluded.summary
""")
READ = text("""
    select id, kind, entity, started, ended, author, summary from change
    where tenant = :tenant and started < :end and (ended is null or ended >= :start)
    order by started, id
""")
BEGUN = text("""
    select id, kind, entity, started, ended, author, summary from change
    where tenant = :tenant and started >= :start and started < :end and kind = any(cast(:kinds as text[]))
    order by started, id
""")

# Rolled back since, a change explains nothing any more; unless the rollback itself was taken back.
STANDING = text("""
    select id, kind, entity, started, ended, author, summary from change c
    where tenant = :tenant and started < :end and (ended is null or ended >= :start)
      and not exists (
          select from action a
          where a.tenant = c.tenant and a.target = c.entity and a.runbook = 'rollback' and a.state = 'finished'
            and a.started >= c.started and a.incident <> :besides and not exists (
                select from action u where u.tenant = a.tenant and u.incident = a.incident
                and u.runbook = 'undo-rollback' and u.target = a.target and u.state = 'finished'))
    order by started, id
""")


async def save(tenant: str, db: Connection, changes: Sequence[Change]) -> None:
    """Keep the changes as they are now; of one told twice the last counts."""
    latest = {change.id: change for change in changes}
    if latest:
        await db.execute(SAVE, {"tenant": tenant, "rows": packed(row(change) for change in latest.values())})


async def read(tenant: str, db: Connection, start: datetime, end: datetime) -> list[Change]:
    """The changes under way at some moment of start <= time < end, in the order in which they started."""
    found = await db.execute(READ, {"tenant": tenant, "start": utc(start), "end": utc(end)})
    return [Change(**each) for each in found.mappings()]


async def begun(tenant: str, db: Connection, kinds: Sequence[str], start: datetime, end: datetime) -> list[Change]:
    """The changes of these kinds that began at start <= time < end, in the order in which they did."""
    values = {"tenant": tenant, "kinds": list(kinds), "start": utc(start), "end": utc(end)}
    return [Change(**each) for each in (await db.execute(BEGUN, values)).mappings()]


async def standing(tenant: str, db: Connection, start: datetime, end: datetime, besides: str = "") -> list[Change]:
    """As `read`, without what a remedy has rolled back since, other than one of the incident `besides`."""
    values = {"tenant": tenant, "start": utc(start), "end": utc(end), "besides": besides}
    found = await db.execute(STANDING, values)
    return [Change(**each) for each in found.mappings()]
