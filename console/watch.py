"""The long-lived watcher: one event loop, plain ticks, scoring in a thread. Run as `python -m console.watch`."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime

from console.chores import LOOK_SECONDS, Chores
from console.picture import picture
from console.runs import Runs
from console.sources import sources
from console.standing import lacking
from console.starvation import Sleeper
from flows.casework import Scene, Work, load_work
from flows.correlation import round_of_correlation, show_correlation
from flows.detection import Batch, DetectionState, restore, show_shift, tick
from flows.following import Following
from flows.recorder import Recorder
from flows.remediation import show_remediation, step
from flows.ticks import TICKED
from gateway.platforms.controls import Controls
from gateway.platforms.supervisor import Supervisor
from tasks.collect import Collector
from tasks.fetch import Bench
from tasks.notify import send_due
from tonewatch.clock import SYSTEM, Clock
from tonewatch.errors import SettingsError, TonewatchError
from tonewatch.logs import configure
from tonewatch.records import Finding, IncidentState, RunKind, Sample, Series
from tonewatch.settings import Settings, addressed, load_profile, read
from warehouse import calibrations, lineage, tenants
from warehouse.cache import Cache
from warehouse.database import Warehouse

log = logging.getLogger("tonewatch.watch")
INVENTORY_SECONDS = 30.0
CHAMPION_SECONDS = 10.0
LATE_RECORD_SECONDS = 5.0
Loop = tuple[Callable[[], float], Callable[[], Awaitable[None]]]
FINISHED = frozenset({IncidentState.MENDED, IncidentState.HANDED_OVER, IncidentState.CLOSED})


class Watcher:
    """Watches one tenant's platform until told to stop."""

    def __init__(self, settings: Settings, clock: Clock = SYSTEM) -> None:
        self.settings, self.clock = settings, clock
        self.tenant = settings.tenant
        self.watches = settings.monitoring_enabled
        self.profile = load_profile(settings.profile)  # until the tenant's own settings are read
        # What was started with it decides, whatever the tenant's own settings become.
        self.light = self.profile.light
        self._settings_version: tuple[str, int] | None = None
        # The same after a restart: a watcher that died must not keep its heir from carrying on.
        self.holder = f"watcher:{socket.gethostname()}:{settings.state_dir}"
        self.warehouse = Warehouse.from_settings(settings)
        self.cache = Cache(settings.redis_url.get_secret_value() if settings.redis_url else None)
        asked_with = settings.prometheus_credentials
        self.collector = Collector(
            self.profile, clock, settings.inventory_url or "", asked_with.get_secret_value() if asked_with else None
        )
        control = settings.supervisor_url.get_secret_value() if settings.supervisor_url else None
        self.platform = Supervisor(control) if control else None
        self.controls = Controls(control) if control else None
        self.began = clock.now()
        self.detection = DetectionState(live=True)
        judges = settings.ai_anomaly_detection and not self.light
        self.following = Following(self.tenant, self.warehouse, clock) if judges else None
        self.bench = Bench(self.tenant, settings.mlflow_tracking_uri or "", settings.champions_dir / self.tenant)
        self.host = Sleeper(works=True)
        self.lag = 0.0
        self.work: dict[str, Work] = {}
        self.findings: deque[Finding] = deque(maxlen=50)
        self.ticks = 0
        self.collected_since: datetime | None = None
        self.stop = asyncio.Event()
        self._last_tick: datetime | None = None
        self._starved_before = 0.0
        self._loop = asyncio.get_running_loop()
        shows = {
            RunKind.DETECTION: show_shift,
            RunKind.CORRELATION: show_correlation,
            RunKind.REMEDIATION: show_remediation,
        }
        self.recorder = Recorder(shows, self._recorded)
        self.runs = Runs(self.tenant, self.warehouse, self.recorder, clock)

    async def run(self) -> None:
        """Watch until `stop` is set. With monitoring off only what waits in outbox and journal goes out."""
        self.recorder.start()
        async with self.host.sleeping():
            await self._watch()
        await self._finish()

    async def _watch(self) -> None:
        await self._resume()
        # What waits in the outbox and the journal does not wait for the platform.
        always: list[Loop] = [(lambda: 1.0, self._send), (lambda: LATE_RECORD_SECONDS, self.runs.record_late)]
        if self.light:
            always.append((lambda: LOOK_SECONDS, Chores(self.settings, self.warehouse, self.clock).look))
        async with asyncio.TaskGroup() as group:
            for seconds, work in always:
                group.create_task(self._every(seconds, work))
            if not self.watches:
                return
            while self.settings.inventory_url and self.collector.inventory is None and not self.stop.is_set():
                await self._guarded(self._look_around)
                await self._pause(1.0 if self.collector.inventory is None else 0.0)
            log.info("watching", extra={"tenant": self.tenant})
            for seconds, work in self._loops():
                group.create_task(self._every(seconds, work))

    def _loops(self) -> list[Loop]:
        loops: list[Loop] = [
            (lambda: self.profile.scrape_seconds, self.collector.scrape),
            (lambda: self.profile.probe_seconds, self.collector.probe),
            (lambda: 1.0, self.collector.read_logs),
            (lambda: 1.0, self._weigh_host),
            (lambda: self.profile.scrape_seconds, self.collector.read_prometheus),
            (lambda: self.profile.tick_seconds, self.tick),
        ]
        around = self._look_around if self.settings.inventory_url else self._remember
        loops.append((lambda: INVENTORY_SECONDS, around))
        if self.following is not None:
            loops.append((lambda: CHAMPION_SECONDS, self._fetch_champions))
        return loops

    async def tick(self) -> None:
        """One tick: everything that arrived goes its way from collect to the next step of each incident."""
        now = self.clock.now()
        await self._follow_settings()
        await self.collector.follow_sources(self.tenant, self.warehouse)
        await self.collector.hear_players(self.tenant, self.warehouse)
        await self.collector.take_deliveries(self.tenant, self.warehouse)
        alerts = await self.collector.hear_alerts(self.tenant, self.warehouse)
        self.collector.add(Sample(TICKED, now, (now - (self._last_tick or now)).total_seconds()))
        samples, pushed = self.collector.drain(), self.collector.drain_pushed()
        if self.collected_since is None:
            self.collected_since = first_collected(samples)
        began = await tick(
            self.tenant,
            self.warehouse,
            self.detection,
            Batch(samples, (self._last_tick or now, now), self.collector.positions(), pushed, alerts),
            self.collector.topology,
            self.profile,
        )
        self._last_tick = now
        self.findings.extend(began)
        await self._correlate(now)
        await self._advance(now)
        self.ticks += 1
        await self.runs.shift(
            now, self.profile.shift_seconds, self._shift_figures(len(samples) + len(pushed), len(began))
        )
        await self._show(now)
        await self._guarded(self._follow)

    async def _follow(self) -> None:
        """Single series are caught up with after a tick, and kept; findings do not wait for it."""
        if self.following is not None and self._last_tick is not None:
            await self.following.after(self.detection, self._last_tick, self.collector.topology, self.profile)

    async def _follow_settings(self) -> None:
        """Take over what was changed of the tenant's settings; settings that do not fit change nothing."""
        async with self.warehouse.as_tenant(self.tenant) as db:
            held = await tenants.get(self.tenant, db)
            version = (held.profile, held.settings_version)
            if version == self._settings_version:
                return
            try:
                self.profile = self.collector.profile = await tenants.profile(self.tenant, db)
            except SettingsError as error:
                # Watched on by the profile's file, but nothing acts: its limits may be wider than the tenant's own.
                log.warning("settings version %s is not used, and nothing acts: %s", held.settings_version, error)
                bare = load_profile(held.profile).model_copy(update={"grants": ()})
                self.profile = self.collector.profile = bare
        if self._settings_version is not None:
            log.info("settings changed", extra={"profile": held.profile, "version": held.settings_version})
        self._settings_version = version

    async def _correlate(self, now: datetime) -> None:
        changed = await round_of_correlation(
            self.tenant, self.warehouse, self.detection, self.collector.topology, self.profile, now
        )
        self.work |= {incident.id: Work(incident) for incident in changed.opened}
        for incident in changed.opened:
            await self.runs.begin(RunKind.CORRELATION, incident.id)
        for incident in changed.joined:
            if incident.id in self.work:
                self.work[incident.id].grow(incident)

    async def _advance(self, now: datetime) -> None:
        """A step for each incident; one that is stuck keeps no other from going on."""
        scene = Scene(
            settings=addressed(self.settings, self.profile),
            profile=self.profile,
            warehouse=self.warehouse,
            clock=self.clock,
            holder=self.holder,
            detection=self.detection,
            topology=self.collector.topology,
            inventory=self.collector.inventory,
            platform=self.platform,
            controls=self.controls,
            began=self.began,
            reports=self.settings.state_dir / "reports" / self.settings.tenant,
            roots={work.incident.id: work.root for work in self.work.values()},
            said={entity: list(lines) for entity, lines in self.collector.said.items()},
        )
        for work in list(self.work.values()):
            await self._step(scene, work, now)
            if work.incident.state is IncidentState.CLOSED:
                del self.work[work.incident.id]

    async def _step(self, scene: Scene, work: Work, now: datetime) -> None:
        before = work.incident.state
        try:
            await step(self.tenant, scene, work, now)
        except TonewatchError as error:
            log.warning("incident %s: %s; tried again with the next tick", work.incident.id, error)
            return
        except Exception:  # one incident that cannot go on keeps no other from going on
            log.exception("incident %s: the step failed; tried again with the next tick", work.incident.id)
            return
        after = work.incident.state
        figures = {"cause": work.causes[0].name if work.causes else None, "state": after.value}
        if before in {IncidentState.OPEN, IncidentState.DIAGNOSED} and after is not before:
            await self.runs.end(RunKind.CORRELATION, work.incident.id, figures)
            await self.runs.begin(RunKind.REMEDIATION, work.incident.id)
        if after in FINISHED and before not in FINISHED:
            verdict = work.verdict
            figures |= {"action": work.action.key if work.action else None}
            figures |= {"verdict": verdict.outcome.value, "controlled": str(verdict.controlled)} if verdict else {}
            await self.runs.end(RunKind.REMEDIATION, work.incident.id, figures)

    async def _show(self, now: datetime) -> None:
        lag, self.lag = self.lag, 0.0
        topology, readings = self.collector.topology, self.detection.recent.readings
        held = self.detection.conditions.values()
        await self.cache.put_live(
            self.tenant,
            picture(
                now,
                self.ticks,
                topology,
                readings,
                held,
                self.work.values(),
                self.findings,
                {family: champion.version for family, champion in self.detection.champions.items()},
                {"starved_s": self.host.starved_s, "lag_ms": round(lag * 1000, 1)},
                self.collected_since,
            )
            | {
                "sources": sources(self.profile.sources, self.settings.inventory_url, topology, readings, held, now),
                "lacking": lacking(addressed(self.settings, self.profile)),
                "series": self.following.figures(self.detection) if self.following is not None else None,
            },
        )

    async def _look_around(self) -> None:
        await self.collector.look_around(self.tenant, self.warehouse)

    async def _remember(self) -> None:
        await self.collector.remember(self.tenant, self.warehouse)

    async def _weigh_host(self) -> None:
        starved = self.host.starved_s
        series = Series("host:watcher", "host_starved_seconds", unit="s")
        self.collector.add(Sample(series, self.clock.now(), starved - self._starved_before))
        self._starved_before = starved

    async def _send(self) -> None:
        await send_due(self.warehouse, addressed(self.settings, self.profile), self.clock, self.holder)

    async def _fetch_champions(self) -> None:
        """Ask the registry who is champion; in a thread, since mlflow takes seconds to import and to answer."""
        async with self.warehouse.as_tenant(self.tenant) as db:
            mine = await calibrations.newest(self.tenant, db)
            retired = await lineage.retired(self.tenant, db)
        if self.following is not None:
            self.following.fits(mine)
        self.detection.champions = await asyncio.to_thread(self.bench.champions, mine, retired)
        self.detection.failing = self.bench.failing

    async def _resume(self) -> None:
        """Carry on where an earlier watcher stopped; wait for the warehouse as long as it takes."""
        while not self.stop.is_set():
            try:
                await self._follow_settings()
                position = await restore(self.tenant, self.warehouse, self.detection, self.clock.now())
                self.work = await load_work(self.tenant, self.warehouse)
                await self.runs.close_left_open()
                await self.collector.remember(self.tenant, self.warehouse)
            except TonewatchError as error:
                log.warning("cannot resume yet: %s", error)
                await self._pause(2.0)
                continue
            self.collector.resume(position, self.detection.restored)
            self.detection.restored = ()
            return

    def _recorded(self, run_id: str, flow_run: str) -> None:
        """Called in the recorder's thread: hand over to the loop."""
        self._loop.call_soon_threadsafe(self.runs.recorded, run_id, flow_run)

    def _shift_figures(self, samples: int, findings: int) -> Mapping[str, int]:
        return {"samples": samples, "findings": findings, "starved_s": int(self.host.starved_s)}

    async def _every(self, seconds: Callable[[], float], work: Callable[[], Awaitable[None]]) -> None:
        """Do `work` every so many seconds until stopped. Whatever goes wrong is told, and the loop goes on."""
        due = self.clock.monotonic()
        while not self.stop.is_set():
            await self._guarded(work)
            now = self.clock.monotonic()
            due = max(due + seconds(), now)
            await self._pause(due - now)
            self.lag = max(self.lag, self.clock.monotonic() - due)

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except TonewatchError as error:
            log.warning("%s: %s", getattr(work, "__name__", work), error)
        except Exception:  # a loop that stops watches nothing: a mistake of ours is told, not fatal
            log.exception("%s failed; it is tried again", getattr(work, "__name__", work))

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self.stop.wait(), max(seconds, 0.001))
        except TimeoutError:
            return

    async def _finish(self) -> None:
        if self.following is not None:
            await self._guarded(self.following.keep)
        await self.runs.close_all()
        await asyncio.to_thread(self.recorder.stop, 3.0)
        await self.collector.close()
        for control in (self.platform, self.controls):
            if control is not None:
                await control.close()
        await self.cache.close()
        await self.warehouse.close()


def first_collected(samples: Iterable[Sample]) -> datetime | None:
    """The time of the first sample that tells of the platform; None: all are what the watcher says of itself."""
    return next((sample.time for sample in samples if sample.series.entity != TICKED.entity), None)


async def watch(settings: Settings) -> None:
    """Watch until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    watcher = Watcher(settings)
    watcher.stop = stop
    if not watcher.watches:
        log.warning("nothing is watched: MONITORING_ENABLED is off")
    elif settings.inventory_url is None:
        log.info("TONEWATCH_INVENTORY_URL is not set: what is pushed, and the tenant's own sources, are watched")
    await watcher.run()


def main() -> None:
    """Entry point of the watcher's process."""
    settings = read()
    configure(settings.log_level, "watcher")
    asyncio.run(watch(settings))
    # Prefect's client keeps threads that wait for a server which may be frozen; everything of ours is closed by now.
    os._exit(0)


if __name__ == "__main__":
    main()
