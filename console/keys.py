"""`tonewatch key`: API keys for those who send to the gateway or look through it."""

from __future__ import annotations

from datetime import timedelta

from console.stack.lifecycle import connected
from tonewatch.clock import SYSTEM, Clock
from tonewatch.errors import SettingsError
from tonewatch.settings import Settings
from warehouse import audit, keys
from warehouse.database import Warehouse

SCOPES = ("beacons", "changes", "metrics", "viewer")


async def make_key(
    settings: Settings, tenant: str, purpose: str, scope: str, days: float | None, clock: Clock = SYSTEM
) -> str:
    """Make a key of `scope` for `tenant`; gives the plain key, which nobody can read again.

    Raises SettingsError: no such scope; NotUp; UnknownTenant; WarehouseError.
    """
    if scope not in SCOPES:
        raise SettingsError(f"{scope!r} is no scope; known are {', '.join(SCOPES)}")
    now = clock.now()
    expires = None if days is None else now + timedelta(days=days)
    warehouse = Warehouse.from_settings(connected(settings))
    try:
        async with warehouse.as_tenant(tenant) as db:
            plain = await keys.create(tenant, db, purpose=purpose, scopes=(scope,), now=now, expires=expires)
            await audit.write(
                tenant,
                db,
                who="console",
                what="key.create",
                subject=purpose,
                before={},
                after={"scope": scope, "expires": expires.isoformat() if expires else None},
                reason="tonewatch key",
                at=now,
            )
    finally:
        await warehouse.close()
    return plain
