"""A tenant that leaves: everything it has, written out, and then removed from every table.

Which tables those are is read from the catalogue, so that none that is added later is forgotten.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from sqlalchemy import text

from tonewatch.errors import UnknownTenant, WarehouseError
from tonewatch.records import TENANT_SLUG
from warehouse.database import Connection
from warehouse.features import IN_TURN
from warehouse.migrate import as_owner

#: Rows that are fetched at once.
AT_ONCE = 2000

TABLES = text("""
    select c.oid::regclass::text from pg_catalog.pg_class c
    join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant' and not a.attisdropped
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
    order by 1
""")
REFERENCES = text("""
    select conrelid::regclass::text, confrelid::regclass::text from pg_catalog.pg_constraint
    where contype = 'f' and connamespace = 'public'::regnamespace and conrelid <> confrelid and conparentid = 0
""")
ROWS = "select (to_jsonb(t) - :withheld)::text from {table} t where tenant = :tenant"
DELETE = "delete from {table} where tenant = :tenant"
#: The hash of a key is its secret's shadow: nobody else needs it.
WITHHELD = {"api_key": "hash"}


async def tables(db: Connection) -> list[str]:
    """Every table that holds rows of tenants, by name; partitions count as their table."""
    return list((await db.execute(TABLES)).scalars())


async def rows(tenant: str, db: Connection, table: str) -> AsyncIterator[str]:
    """The tenant's rows of one of `tables`, each as a JSON object; a key's hash is left out.

    Raises WarehouseError: no such table.
    """
    if table not in await tables(db):
        raise WarehouseError(f"there is no table {table!r} of tenants")
    withheld = WITHHELD.get(table, "")
    # The name comes from the catalogue, where regclass has quoted it.
    query = text(ROWS.format(table=table))
    found = await db.stream(query, {"tenant": tenant, "withheld": withheld}, execution_options={"yield_per": AT_ONCE})
    async for row in found.scalars():
        yield row


def remove(tenant: str, admin_url: str) -> dict[str, int]:
    """Delete every row of the tenant, the audit included, in one transaction; how many by table.

    It runs as the owner of the tables: the app may delete next to nothing, and the audit nobody else. Raises
    UnknownTenant; WarehouseAway; WarehouseError.
    """
    if not TENANT_SLUG.fullmatch(tenant):
        raise UnknownTenant(f"{tenant!r} is no tenant name: 1 to 40 of a-z, 0-9 and -")
    removed: dict[str, int] = {}
    with as_owner(admin_url) as db:
        db.execute(text("select set_config('app.tenant', :tenant, true)"), {"tenant": tenant})
        db.execute(text("set local lock_timeout = '10s'"))
        # Rows of features refer to no tenant: who writes some now is waited for, and who comes later finds no view.
        db.execute(IN_TURN, {"tenant": tenant})
        if db.execute(text("select from tenant where tenant = :tenant"), {"tenant": tenant}).first() is None:
            raise UnknownTenant(f"there is no tenant {tenant!r}")
        names = list(db.execute(TABLES).scalars())
        # Append-only while there is a tenant; this is its end. Nobody else's lines are in reach: see the policy.
        db.execute(text("alter table audit disable trigger audit_is_append_only"))
        for table in in_order(names, [(row[0], row[1]) for row in db.execute(REFERENCES)]):
            removed[table] = db.execute(text(DELETE.format(table=table)), {"tenant": tenant}).rowcount
        db.execute(text("alter table audit enable always trigger audit_is_append_only"))
    return removed


def in_order(names: list[str], references: list[tuple[str, str]]) -> list[str]:
    """The tables, each before those that it refers to. Raises WarehouseError: they refer to one another in a circle.

    >>> in_order(["tenant", "incident", "cause"], [("cause", "incident"), ("incident", "tenant")])
    ['cause', 'incident', 'tenant']
    """
    left, ordered = sorted(names), list[str]()
    while left:
        free = [name for name in left if not any(to == name and of in left for of, to in references)]
        if not free:
            raise WarehouseError(f"the tables {', '.join(left)} refer to one another: none can be emptied first")
        ordered += free
        left = [name for name in left if name not in free]
    return ordered
