"""Making, listing, rotating and revoking a tenant's API keys; each act with its line in the audit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tonewatch.clock import SYSTEM, Clock
from tonewatch.errors import ActRefused, SettingsError
from tonewatch.roles import ROLES
from warehouse import audit, keys, tenants
from warehouse.database import Connection, Warehouse
from warehouse.keys import KeyEntry

#: What a key may be for: to send beacons, push metrics, tell alerts, events, changes, inventory; or what a role may.
SCOPES = ("beacons", "metrics", "alerts", "events", "changes", "inventory", *ROLES)


@dataclass(frozen=True, slots=True)
class Made:
    """A new key. `plain` is shown this once: the warehouse holds its hash alone."""

    tenant: str
    id: str
    plain: str
    purpose: str
    scopes: tuple[str, ...]
    expires: datetime | None


@dataclass(frozen=True, slots=True)
class Keyring:
    """The work on one warehouse's keys."""

    warehouse: Warehouse
    clock: Clock = SYSTEM

    async def add(
        self, tenant: str, purpose: str, scopes: Sequence[str], days: float | None, who: str, reason: str = ""
    ) -> Made:
        """Make a key. Raises SettingsError: no such scope; UnknownTenant."""
        unknown = sorted(set(scopes) - set(SCOPES))
        if unknown or not scopes:
            raise SettingsError(f"{', '.join(unknown) or 'nothing'} is no scope; known are {', '.join(SCOPES)}")
        now = self.clock.now()
        expires = None if days is None else now + timedelta(days=days)
        async with self.warehouse.as_tenant(tenant) as db:
            await tenants.get(tenant, db)
            return await self._make(tenant, db, purpose, tuple(dict.fromkeys(scopes)), expires, (who, reason), now)

    async def all(self, tenant: str) -> list[KeyEntry]:
        """Every key that the tenant has had, the newest first. Raises UnknownTenant."""
        async with self.warehouse.as_tenant(tenant) as db:
            await tenants.get(tenant, db)
            return await keys.listed(tenant, db)

    async def revoke(self, tenant: str, id_: str, who: str, reason: str = "") -> KeyEntry:
        """End a key now: a gateway believes it for three seconds more at most. Raises ActRefused: no key to end."""
        now = self.clock.now()
        async with self.warehouse.as_tenant(tenant) as db:
            held = await self._holding(tenant, db, id_, now)
            await keys.revoke(tenant, db, id_, now)
            after = {"purpose": held.purpose}
            await audit.write(
                tenant, db, who=who, what="key.revoke", subject=id_, before={}, after=after, reason=reason, at=now
            )
        return held

    async def rotate(self, tenant: str, id_: str, grace_hours: float, who: str, reason: str = "") -> Made:
        """A new key for the same purpose; the old one holds for `grace_hours` more, in which senders change over.

        Raises ActRefused: the key does not hold any more, or ends sooner than that already.
        """
        now = self.clock.now()
        end = now + timedelta(hours=grace_hours)
        async with self.warehouse.as_tenant(tenant) as db:
            held = await self._holding(tenant, db, id_, now)
            lasts = None if held.expires is None else held.expires - held.created
            expires = None if lasts is None else now + lasts
            made = await self._make(tenant, db, held.purpose, held.scopes, expires, (who, reason), now)
            old_end = end if held.expires is None else min(end, held.expires)
            await keys.end_at(tenant, db, id_, old_end)
            after = {"by": made.id, "old_holds_until": old_end.isoformat()}
            await audit.write(
                tenant, db, who=who, what="key.rotate", subject=id_, before={}, after=after, reason=reason, at=now
            )
        return made

    async def _holding(self, tenant: str, db: Connection, id_: str, now: datetime) -> KeyEntry:
        await tenants.get(tenant, db)
        held = next((each for each in await keys.listed(tenant, db) if each.id == id_), None)
        if held is None:
            raise ActRefused(f"{tenant} has no key {id_!r}; `tonewatch keys list` shows them")
        if not held.holds(now):
            raise ActRefused(f"the key {id_} of {tenant} has ended already")
        return held

    async def _make(
        self,
        tenant: str,
        db: Connection,
        purpose: str,
        scopes: tuple[str, ...],
        expires: datetime | None,
        by: tuple[str, str],
        now: datetime,
    ) -> Made:
        plain = await keys.create(tenant, db, purpose=purpose, scopes=scopes, now=now, expires=expires)
        made = Made(tenant, keys.id_of(plain), plain, purpose, scopes, expires)
        after = {"purpose": purpose, "scopes": list(scopes), "expires": expires.isoformat() if expires else None}
        await audit.write(
            tenant, db, who=by[0], what="key.create", subject=made.id, before={}, after=after, reason=by[1], at=now
        )
        return made
