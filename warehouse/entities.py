"""Entities: the parts of a tenant's platform and what feeds what, as they were at any time."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import text

from tonewatch.records import Entity
from warehouse.database import Connection
from warehouse.rows import Row, packed, utc

# A change closes the current row and begins another. A change told for a time before that row began corrects the row
# itself: validity never runs backward, whatever the callers' clocks say.
CORRECT = text("""
    update entity e set stage = n.stage, labels = n.labels
    from jsonb_to_recordset(cast(:rows as jsonb)) as n (id text, stage text, labels jsonb)
    where e.tenant = :tenant and e.id = n.id and e.valid_to is null and e.valid_from >= :at
      and (e.stage, e.labels) is distinct from (n.stage, n.labels)
""")
CLOSE = text("""
    update entity e set valid_to = :at
    from jsonb_to_recordset(cast(:rows as jsonb)) as n (id text, stage text, labels jsonb)
    where e.tenant = :tenant and e.id = n.id and e.valid_to is null and e.valid_from < :at
      and (e.stage, e.labels) is distinct from (n.stage, n.labels)
""")
BEGIN = text("""
    insert into entity (tenant, id, stage, labels, valid_from)
    select :tenant, n.id, n.stage, n.labels, :at
    from jsonb_to_recordset(cast(:rows as jsonb)) as n (id text, stage text, labels jsonb)
    where not exists (select from entity e where e.tenant = :tenant and e.id = n.id and e.valid_to is null)
    order by n.id
    on conflict (tenant, id, valid_from) do update
        set stage = excluded.stage, labels = excluded.labels, valid_to = null
""")
CLOSE_LINKS = text("""
    update entity_link l set valid_to = greatest(:at, l.valid_from + interval '1 microsecond')
    where l.tenant = :tenant and l.source = any(:sources) and l.valid_to is null and not exists (
        select from jsonb_to_recordset(cast(:rows as jsonb)) as n (source text, kind text, target text)
        where (n.source, n.kind, n.target) = (l.source, l.kind, l.target))
""")
BEGIN_LINKS = text("""
    insert into entity_link (tenant, source, kind, target, valid_from)
    select :tenant, n.source, n.kind, n.target, :at
    from jsonb_to_recordset(cast(:rows as jsonb)) as n (source text, kind text, target text)
    where not exists (
        select from entity_link l where l.tenant = :tenant and l.source = n.source and l.kind = n.kind
          and l.target = n.target and l.valid_to is null)
    order by n.source, n.kind, n.target
    on conflict (tenant, source, kind, target, valid_from) do update set valid_to = null
""")
LOAD = text("""
    select e.id, e.stage, e.labels,
        array(select l.target from entity_link l
            where l.tenant = :tenant and l.source = e.id and l.kind = 'feeds'
              and l.valid_from <= :at and (l.valid_to is null or l.valid_to > :at) order by l.target) as feeds,
        array(select l.target from entity_link l
            where l.tenant = :tenant and l.source = e.id and l.kind = 'depends-on'
              and l.valid_from <= :at and (l.valid_to is null or l.valid_to > :at) order by l.target) as depends_on
    from entity e
    where e.tenant = :tenant and e.valid_from <= :at and (e.valid_to is null or e.valid_to > :at)
    order by e.id
""")
WITHIN = text("""
    select distinct id from entity
    where tenant = :tenant and stage = :stage and valid_from <= :until and (valid_to is null or valid_to > :since)
    order by id
""")
# Two that replace them at once would each begin what the other begins.
IN_TURN = text("select pg_advisory_xact_lock(hashtextextended('entity ' || :tenant, 0))")
END = text("""
    update entity set valid_to = greatest(:at, valid_from + interval '1 microsecond')
    where tenant = :tenant and id = any(:ids) and valid_to is null
""")
END_LINKS = text("""
    update entity_link set valid_to = greatest(:at, valid_from + interval '1 microsecond')
    where tenant = :tenant and source = any(:ids) and valid_to is null
""")


async def save(tenant: str, db: Connection, entities: Iterable[Entity], at: datetime) -> None:
    """Note that these entities are like this from `at` on; of one entity told twice the last counts.

    Entities that are not named stay as they are (`end` says that one is gone). A WarehouseError names no entity.
    """
    latest = {entity.id: entity for entity in entities}
    if not latest:
        return
    links = packed(_links(latest.values()))
    rows = packed({"id": e.id, "stage": e.stage, "labels": e.labels} for e in latest.values())
    values = {"tenant": tenant, "rows": rows, "at": utc(at)}
    for statement in (CORRECT, CLOSE, BEGIN):
        await db.execute(statement, values)
    await db.execute(CLOSE_LINKS, {"tenant": tenant, "rows": links, "sources": list(latest), "at": at})
    await db.execute(BEGIN_LINKS, {"tenant": tenant, "rows": links, "at": at})


async def load(tenant: str, db: Connection, at: datetime) -> list[Entity]:
    """The entities as they were at `at`, in the order of their ids; `feeds` and `depends_on` in alphabetical order."""
    found = (await db.execute(LOAD, {"tenant": tenant, "at": utc(at)})).all()
    return [Entity(id_, stage, labels, tuple(feeds), tuple(needs)) for id_, stage, labels, feeds, needs in found]


async def within(tenant: str, db: Connection, stage: str, since: datetime, until: datetime) -> tuple[str, ...]:
    """The ids, in order, of what was of that stage at any time from `since` to `until`: also of what is gone by now."""
    values = {"tenant": tenant, "stage": stage, "since": utc(since), "until": utc(until)}
    return tuple((await db.execute(WITHIN, values)).scalars())


async def replace(tenant: str, db: Connection, entities: Iterable[Entity], at: datetime) -> None:
    """Note that the platform consists of these entities from `at` on; those that are not named are gone."""
    named = list(entities)
    await db.execute(IN_TURN, {"tenant": tenant})
    gone = {entity.id for entity in await load(tenant, db, at)} - {entity.id for entity in named}
    await end(tenant, db, sorted(gone), at)
    await save(tenant, db, named, at)


async def end(tenant: str, db: Connection, ids: Iterable[str], at: datetime) -> None:
    """Note that these entities are gone from `at` on."""
    values = {"tenant": tenant, "ids": list(ids), "at": utc(at)}
    await db.execute(END, values)
    await db.execute(END_LINKS, values)


def _links(entities: Iterable[Entity]) -> Iterable[Row]:
    for entity in entities:
        for kind, targets in (("feeds", entity.feeds), ("depends-on", entity.depends_on)):
            for target in dict.fromkeys(targets):
                yield {"source": entity.id, "kind": kind, "target": target}
