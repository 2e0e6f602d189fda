"""A watcher's loop in a process of its own, which is killed at a moment of its story. See test_watcher_killed.py."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from flows.casework import Scene, load_work
from flows.detection import restore
from gateway.platforms.supervisor import Supervisor
from tasks.notify import send_due
from tests.campaign.moments import Orders, install
from tests.integration.test_loop import PROCESS, Loop
from tests.unit.platform_parts import START
from tonewatch.clock import ManualClock
from tonewatch.records import IncidentState
from tonewatch.settings import Settings
from warehouse.database import Warehouse

TICKS = 40
#: How long nobody watches: longer than readings count as fresh.
AWAY = timedelta(seconds=40)


@dataclass
class Watching(Loop):
    """A loop that knows since when it has seen anything, as the watcher's does."""

    began: datetime = START

    def scene(self) -> Scene:
        return replace(super().scene(), began=self.began)


@dataclass(frozen=True, slots=True)
class Site:
    """Where everything is, in words that another process can be given."""

    tenant: str
    app_url: str
    dispatcher_url: str
    supervisor_url: str
    smtp_url: str
    folder: Path

    def loop(self, warehouse: Warehouse, platform: Supervisor, start: datetime) -> Watching:
        """A watcher's loop there, which begins at `start`."""
        settings = Settings(
            tenant=self.tenant,
            profile="demo",
            mail_to=("ops@radio.example",),
            smtp_url=self.smtp_url,
            state_dir=self.folder / "state",
        )
        return Watching(self.tenant, warehouse, platform, self.folder, settings, clock=ManualClock(start), began=start)

    def died_at(self) -> datetime:
        """The time on the clock of the loop that died."""
        return datetime.fromisoformat((self.folder / "clock").read_text())


def live(site: Site) -> None:
    """Watch until the order's moment; to be run in a process of its own."""
    install(Orders(site.folder))
    asyncio.run(_live(site))


async def _live(site: Site) -> None:
    async with Supervisor(site.supervisor_url) as platform:
        loop = site.loop(Warehouse(site.app_url, site.dispatcher_url), platform, START)
        await loop.tick(loop.telemetry(up=True))
        (site.folder / "clock").write_text(loop.clock.now().isoformat())
        await loop.crash()
        await until_closed(site, loop)


async def until_closed(site: Site, loop: Loop) -> None:
    """Tick, tell of the process as it is, and send what is due, until the incident is closed."""
    for _ in range(TICKS):
        (site.folder / "clock").write_text(loop.clock.now().isoformat())
        await send_due(loop.warehouse, loop.settings, loop.clock, "watcher:test")
        if loop.work and all(work.incident.state is IncidentState.CLOSED for work in loop.work.values()):
            return
        up = (await loop.platform.state(PROCESS)).state == "RUNNING"
        await loop.tick(loop.telemetry(up=up, overdue=0.0 if up else 6.0))


async def resume(loop: Loop) -> None:
    """Take over what the dead one left, as a watcher does: its first tick comes before its first scrape."""
    await restore(loop.tenant, loop.warehouse, loop.detection, loop.clock.now())
    loop.work = await load_work(loop.tenant, loop.warehouse)
    await loop.tick([])
