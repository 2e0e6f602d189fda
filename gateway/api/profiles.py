"""How each tenant is to be treated, as its settings have it; read from the warehouse, and believed for ten seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import structlog

from tonewatch.clock import Clock
from tonewatch.errors import SettingsError
from tonewatch.settings import Profile, load_profile
from warehouse import tenants
from warehouse.database import Warehouse

BELIEVED_S: Final = 10.0

log = structlog.get_logger("gateway")


@dataclass(frozen=True, slots=True)
class Treated:
    """A tenant's profile with its own settings over it, and which version of them that is."""

    profile: Profile
    version: tuple[str, int]


class Profiles:
    """The profiles of this process's tenants."""

    def __init__(self, warehouse: Warehouse, clock: Clock) -> None:
        self._warehouse, self._clock = warehouse, clock
        self._held: dict[str, tuple[Treated, float]] = {}

    async def of(self, tenant: str) -> Treated:
        """The tenant's. Settings that do not fit must keep nothing out: then its profile's file holds.

        Raises UnknownTenant, WarehouseAway.
        """
        kept, now = self._held.get(tenant), self._clock.monotonic()
        if kept is not None and kept[1] > now:
            return kept[0]
        async with self._warehouse.as_tenant(tenant) as db:
            found = await tenants.get(tenant, db)
            try:
                profile = await tenants.profile(tenant, db)
            except SettingsError as error:
                log.warning("the tenant's own settings are not used", tenant=tenant, error=str(error))
                profile = load_profile(found.profile)
        treated = Treated(profile, (found.profile, found.settings_version))
        self._held[tenant] = (treated, now + BELIEVED_S)
        return treated
