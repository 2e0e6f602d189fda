"""What Prefect's worker does by the clock, done by the watcher itself where a light profile has no worker."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from flows.maintenance import keep_house
from policy.period import week_before
from tasks.weekly import lay, make
from tonewatch.clock import Clock
from tonewatch.settings import Settings, addressed
from warehouse import cursors, tenants
from warehouse.database import Warehouse

log = logging.getLogger("tonewatch.watch")
#: How often it is looked whether something is due.
LOOK_SECONDS = 60.0
HOUR = timedelta(hours=1)
#: A stack that has just started has other things to do.
SETTLED = timedelta(minutes=10)
#: When the week before is reported: Mondays at six, UTC, as in deployments/prefect.yaml.
REPORT_HOUR = 6
CURSOR = "weekly-report"


class Chores:
    """The housekeeping of one watcher."""

    def __init__(self, settings: Settings, warehouse: Warehouse, clock: Clock) -> None:
        self._settings, self._warehouse, self._clock = settings, warehouse, clock
        self._kept = clock.now() - HOUR + SETTLED

    async def look(self) -> None:
        """Do what is due. Raises WarehouseAway; it is tried again with the next look."""
        now = self._clock.now()
        if now - self._kept >= HOUR:
            kept = await keep_house(self._warehouse, now, self._settings)
            self._kept = now
            for tenant, why in kept.failed.items():
                log.error("no housekeeping for %s: %s", tenant, why)
        await self._report_weekly(now)

    async def _report_weekly(self, now: datetime) -> None:
        """Mail the figures of the last whole week, once; not those of a time before there was a watcher."""
        tenant, week = self._settings.tenant, week_before(now - timedelta(hours=REPORT_HOUR))
        async with self._warehouse.as_tenant(tenant) as db:
            told = await cursors.get(tenant, db, CURSOR)
            if told is None:
                await cursors.set(tenant, db, CURSOR, {"week": week.key}, now)
            if told is None or told["week"] == week.key:
                return
            profile = await tenants.profile(tenant, db)
        if "email" not in addressed(self._settings, profile).alert_channels:
            return
        report = await make(tenant, self._warehouse, week, profile, now, self._settings.named_state_dir)
        laid = await lay(tenant, self._warehouse, report, now)
        async with self._warehouse.as_tenant(tenant) as db:
            await cursors.set(tenant, db, CURSOR, {"week": week.key}, now)
        log.info("weekly report: %s", laid.told)
