"""Tenants: customers whose platforms are watched, apart from one another."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import text

from tonewatch.errors import UnknownTenant
from tonewatch.records import Tenant
from tonewatch.settings import Profile, profile_of
from warehouse.database import Connection, Warehouse
from warehouse.rows import clean, utc

ADD = text("""
    insert into tenant (tenant, name, profile, created) values (:tenant, :name, :profile, :at) on conflict do nothing
""")
GET = text("select tenant as slug, name, profile, settings_version from tenant where tenant = :tenant")
PROFILE = text("""
    select t.profile, s.settings from tenant t
    left join settings_version s on s.tenant = t.tenant and s.version = t.settings_version
    where t.tenant = :tenant
""")
WATCH_BY = text("update tenant set profile = :profile where tenant = :tenant")
SLUGS = text("select tenant from tenant order by tenant")


def unknown(tenant: str) -> UnknownTenant:
    """The error that says so."""
    return UnknownTenant(f"there is no tenant {tenant!r}: add it first (tonewatch tenants add)")


async def add(tenant: str, db: Connection, *, name: str, profile: str, at: datetime) -> bool:
    """Add the tenant; False: it is there, and stays as it is."""
    values = {"tenant": tenant, "name": clean(name), "profile": profile, "at": utc(at)}
    return (await db.execute(ADD, values)).rowcount == 1


async def watch_by(tenant: str, db: Connection, profile: str) -> None:
    """Have the tenant watched by another profile's file."""
    await db.execute(WATCH_BY, {"tenant": tenant, "profile": profile})


async def get(tenant: str, db: Connection) -> Tenant:
    """The tenant. Raises UnknownTenant."""
    found = (await db.execute(GET, {"tenant": tenant})).mappings().one_or_none()
    if found is None:
        raise unknown(tenant)
    return Tenant(**found)


async def profile(tenant: str, db: Connection) -> Profile:
    """How the tenant is watched now: its profile's file with its own settings over it.

    Raises UnknownTenant; SettingsError: they were written by a version of Tonewatch that knew other keys.
    """
    found = (await db.execute(PROFILE, {"tenant": tenant})).one_or_none()
    if found is None:
        raise unknown(tenant)
    return profile_of(found.profile, found.settings or {})


async def slugs(db_dispatcher: Connection) -> list[str]:
    """The names of all tenants. For the dispatcher: the app sees only the tenant it works for."""
    return list((await db_dispatcher.execute(SLUGS)).scalars())


async def everybody(warehouse: Warehouse) -> list[str]:
    """As `slugs`, for whoever goes through all, whether their settings can be read or not. Raises WarehouseAway."""
    async with warehouse.as_dispatcher() as db:
        return await slugs(db)
