"""A tenant's own settings, each version with who made it and why. The newest holds; none is ever changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text

from tonewatch.errors import ActRefused
from warehouse import tenants
from warehouse.database import Connection
from warehouse.rows import clean, document, utc

CURRENT = text("""
    select t.settings_version as version, t.profile, coalesce(s.settings, '{}') as settings, coalesce(s.who, '') as who,
        coalesce(s.reason, 'as the profile has it') as reason, coalesce(s.time, t.created) as time
    from tenant t left join settings_version s on s.tenant = t.tenant and s.version = t.settings_version
    where t.tenant = :tenant
""")
HISTORY = text("""
    select version, profile, settings, who, reason, time from settings_version where tenant = :tenant order by version
""")
# The row of the tenant is the lock: of two who change the same version, the second finds another one.
NEXT = text("""
    update tenant set settings_version = settings_version + 1
    where tenant = :tenant and settings_version = :version returning settings_version
""")
# The version before stands there already, but for the first: that is what the tenant came with.
KEEP_FIRST = text("""
    insert into settings_version (tenant, version, profile, settings, who, reason, time)
    select tenant, settings_version, profile, '{}', '', 'as the profile has it', created from tenant
    where tenant = :tenant and settings_version = :version on conflict do nothing
""")
PUT = text("""
    insert into settings_version (tenant, version, profile, settings, who, reason, time)
    values (:tenant, :version, :profile, cast(:settings as jsonb), :who, :reason, :at)
""")


@dataclass(frozen=True, slots=True)
class SettingsVersion:
    """Settings as they were from `time` on. settings: what differs from the file of `profile`, by key."""

    version: int
    profile: str
    settings: Mapping[str, Any]
    who: str
    reason: str
    time: datetime


async def current(tenant: str, db: Connection) -> SettingsVersion:
    """The version that holds. Raises UnknownTenant."""
    found = (await db.execute(CURRENT, {"tenant": tenant})).mappings().one_or_none()
    if found is None:
        raise tenants.unknown(tenant)
    return SettingsVersion(**found)


async def history(tenant: str, db: Connection) -> list[SettingsVersion]:
    """Every version, the first first; that is what the tenant came with, when it came. Raises UnknownTenant."""
    found = [SettingsVersion(**each) for each in (await db.execute(HISTORY, {"tenant": tenant})).mappings()]
    return found or [await current(tenant, db)]  # the first is written down with the second


async def put(
    tenant: str,
    db: Connection,
    *,
    profile: str,
    settings: Mapping[str, Any],
    over: int,
    who: str,
    reason: str,
    at: datetime,
) -> int:
    """Write a version that takes the place of `over`; gives its number. The caller has validated the settings.

    Raises ActRefused: somebody else has changed them since `over` was read.
    """
    await db.execute(KEEP_FIRST, {"tenant": tenant, "version": over})
    version = (await db.execute(NEXT, {"tenant": tenant, "version": over})).scalar_one_or_none()
    if version is None:
        raise ActRefused(f"the settings of {tenant} were changed meanwhile (version {over} is gone): look again")
    values = {"tenant": tenant, "version": version, "profile": profile, "settings": document(settings)}
    await tenants.watch_by(tenant, db, profile)
    await db.execute(PUT, values | {"who": clean(who), "reason": clean(reason), "at": utc(at)})
    return int(version)
