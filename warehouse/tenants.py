"""Tenants: customers whose platforms are watched, apart from one another."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import text

from tonewatch.errors import UnknownTenant
from tonewatch.records import Tenant
from warehouse.database import Connection
from warehouse.rows import clean, utc

ADD = text("""
    insert into tenant (tenant, name, profile, created) values (:tenant, :name, :profile, :at) on conflict do nothing
""")
GET = text("select tenant as slug, name, profile, settings_version from tenant where tenant = :tenant")
SLUGS = text("select tenant from tenant order by tenant")


async def add(tenant: str, db: Connection, *, name: str, profile: str, at: datetime) -> None:
    """Add the tenant; one that is there stays as it is."""
    await db.execute(ADD, {"tenant": tenant, "name": clean(name), "profile": profile, "at": utc(at)})


async def get(tenant: str, db: Connection) -> Tenant:
    """The tenant. Raises UnknownTenant."""
    found = (await db.execute(GET, {"tenant": tenant})).mappings().one_or_none()
    if found is None:
        raise UnknownTenant(f"there is no tenant {tenant!r}: add it first (tenants.add)")
    return Tenant(**found)


async def slugs(db_dispatcher: Connection) -> list[str]:
    """The names of all tenants. For the dispatcher: the app sees only the tenant it works for."""
    return list((await db_dispatcher.execute(SLUGS)).scalars())
