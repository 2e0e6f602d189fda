"""Step 1: what arrived since the cursor: scrapes, log lines, what the probe heard, what players reported."""

from __future__ import annotations

import logging
import re
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from feature_store.sessions import session_samples
from feature_store.twins import twin_samples
from gateway.alerts import series
from gateway.http import client
from gateway.naming import Naming
from gateway.remote_write import Labelled, from_milliseconds, milliseconds
from gateway.sources import inventory as inventories
from gateway.sources import logs
from gateway.sources.inventory import Inventory
from gateway.sources.prometheus import scrape_all
from gateway.sources.prometheus_server import Line, PrometheusServer
from policy.alerts import condition, heeded
from policy.conditions import Condition
from policy.readings import UNREAD
from tasks.detect import HORIZON
from tasks.probe import Prober, probed_samples
from tasks.scrape import scraped
from tasks.tune import Station, entities_of, without_ours
from tonewatch.clock import Clock
from tonewatch.errors import SourceError
from tonewatch.records import Entity, Sample, Series, SessionReport
from tonewatch.settings import Profile
from tonewatch.topology import Topology
from warehouse import alerts, deliveries, entities, sessions
from warehouse.database import Warehouse

log = logging.getLogger(__name__)
#: Samples waiting for a tick; beyond it the oldest are given up and counted (a tick that hangs must not eat memory).
WAITING = 200_000
REPORTS_PER_ROUND = 5_000
PUSHED_PER_ROUND = 100_000
#: A sample stands in a Prometheus some time after the time it is of: its scrape has to end first.
SETTLING = timedelta(seconds=30)
#: How far back a Prometheus is read after a pause; older samples break the contract (policy/contracts.py).
CATCHING_UP = timedelta(minutes=55)
#: So much of the past is read at once then.
SLICE = timedelta(minutes=5)
#: Longest answer of a Prometheus that is waited for.
PROMETHEUS_S = 30.0
OWN_PROMETHEUS = "service:prometheus"
#: How many series a reading of it gave, at the time of the newest sample; a reading that brings no newer one has none.
SERIES_READ = "prometheus_series_read"
ALARMING = frozenset({"warning", "error", "critical"})
QUOTABLE = 5


class Collector:
    """Gathers from one tenant's platform between ticks; a tick drains it. Close it."""

    def __init__(
        self, profile: Profile, clock: Clock, inventory_url: str, prometheus_credentials: str | None = None
    ) -> None:
        self.profile, self._clock, self._inventory_url = profile, clock, inventory_url
        self._credentials = prometheus_credentials
        self._read_to: datetime | None = None  # in the user's Prometheus: all series, and of each its last sample
        self._last_read: dict[Labelled, int] = {}
        self._newest_read = 0  # of any series, in milliseconds since 1970
        self._client = client(timeout_s=max(1.0, min(profile.scrape_seconds, 2.0)))
        self._patient = client(timeout_s=PROMETHEUS_S, connections=2)
        self._waiting: deque[Sample] = deque()
        self.given_up = 0
        self._positions: dict[str, logs.Position] = {}
        self._reports: deque[SessionReport] = deque(maxlen=WAITING)
        self._arrival = 0
        self._pushed: deque[Sample] = deque()
        self._held: set[tuple[int, datetime]] = set()
        self._pushed_to = deliveries.BEGINNING
        self._prober: Prober | None = None
        self._station = Station(clock)
        self.inventory: Inventory | None = None
        self.topology = Topology([])
        self._twins: dict[str, str] = {}
        self.said: dict[str, deque[tuple[datetime, str]]] = defaultdict(lambda: deque(maxlen=QUOTABLE))
        self.bad_lines = 0

    async def close(self) -> None:
        """Close every connection."""
        if self._prober is not None:
            await self._prober.close()
        await self._station.close()
        await self._client.aclose()
        await self._patient.aclose()

    def resume(self, position: Mapping[str, Any], held: Iterable[Sample] = ()) -> None:
        """Go on from a cursor that `positions` gave; held: the samples that are in the readings already."""
        self._held = {(sample.series.id, sample.time) for sample in held}
        self._arrival = int(position.get("arrival", 0))
        told = position.get("prometheus")
        self._read_to = datetime.fromisoformat(told) if told else None
        self._pushed_to = deliveries.position(position.get("pushed", deliveries.BEGINNING))
        for entity, kept in position.get("logs", {}).items():
            self._positions[entity] = logs.Position.from_json(kept, kept["path"])

    def positions(self) -> dict[str, Any]:
        """Where every source stands: what a cursor keeps."""
        return {
            "arrival": self._arrival,
            "pushed": list(self._pushed_to),
            "prometheus": self._read_to.isoformat() if self._read_to else None,
            "logs": {entity: position.as_json() for entity, position in self._positions.items()},
        }

    async def look_around(self, tenant: str, warehouse: Warehouse) -> None:
        """Read the inventory; a platform that changed is written down and probed anew.

        Raises SourceError: the inventory cannot be had; WarehouseAway: it is taken over with the next try.
        """
        found = await inventories.fetch(self._client, self._inventory_url)
        if found == self.inventory:
            return
        await self._write_down(tenant, warehouse, [*found.entities(), *entities_of(self.profile.sources)])
        if self._prober is not None:
            await self._prober.close()
        self._prober = Prober.of(found, thin=THIN, clock=self._clock)
        self._twins = twins(found)
        self.inventory = found

    async def follow_sources(self, tenant: str, warehouse: Warehouse) -> None:
        """Tune in to the station that the settings name, when it is another than before. Raises WarehouseAway."""
        sources = self.profile.sources
        if not self._station.differs(sources):
            return
        others = self.inventory.entities() if self.inventory else without_ours(self.topology.entities.values())
        await self._write_down(tenant, warehouse, [*others, *entities_of(sources)])
        await self._station.follow(sources)

    async def _write_down(self, tenant: str, warehouse: Warehouse, named: Sequence[Entity]) -> None:
        """The platform consists of `named` from now on."""
        async with warehouse.as_tenant(tenant) as db:
            await entities.replace(tenant, db, named, self._clock.now())
        self.topology = Topology(named)

    async def remember(self, tenant: str, warehouse: Warehouse) -> None:
        """Take the platform as it was last known, by its inventory or as it was told at the door."""
        async with warehouse.as_tenant(tenant) as db:
            known = await entities.load(tenant, db, self._clock.now())
        ours = entities_of(self.profile.sources)
        if {each.id for each in ours} <= {each.id for each in known}:
            self.topology = Topology(known)
        else:  # an inventory that was told at the door knows nothing of the station that the settings name
            await self._write_down(tenant, warehouse, [*without_ours(known), *ours])

    async def scrape(self) -> None:
        """Read every component's metrics, and what a station's servers say, once; a failed scrape is a sample too."""
        now = self._clock.now()
        self._waiting.extend(await self._station.ask(now))
        if self.inventory is None:
            return
        outcomes = await scrape_all(
            self._client, self.inventory.targets, timeout=max(0.5, min(self.profile.scrape_seconds, 2.0) * 0.9)
        )
        found = [sample for entity, outcome in outcomes.items() for sample in scraped(entity, outcome, now)]
        self._waiting.extend(found)
        self._waiting.extend(twin_samples(found, self._twins))

    async def read_prometheus(self) -> None:
        """Read what the tenant's own Prometheus has scraped since last time; that it cannot be read is a sample too."""
        source = self.profile.sources.prometheus
        if source is None:
            return
        now = self._clock.now()
        start = max(self._read_to or now - SETTLING, now - CATCHING_UP)
        end = min(now, start + SLICE)
        server = PrometheusServer(self._patient, source.url, self._credentials)
        try:
            lines = [line for each in source.selectors for line in await server.raw(each, start - SETTLING, end)]
        except SourceError as error:
            self._waiting.extend(scraped(OWN_PROMETHEUS, error, now))
            return
        lines += await self._ruled(server, start - SETTLING, end, now)
        naming = Naming(self.profile.naming)
        for line in lines:
            self._waiting.extend(
                self._unheld(self._new(line, naming.series(line.told), milliseconds(start - SETTLING)))
            )
        self._waiting.append(Sample(Series(OWN_PROMETHEUS, "up"), now, 1.0))
        newest = max((line.times[-1] for line in lines), default=0)
        if newest > self._newest_read:
            count = len({line.told for line in lines})  # two selectors may name the same series
            told = Sample(Series(OWN_PROMETHEUS, SERIES_READ, unit="series"), from_milliseconds(newest), float(count))
            self._waiting.extend(self._unheld([told]))
            self._newest_read = newest
        self._read_to = end

    async def _ruled(self, server: PrometheusServer, start: datetime, end: datetime, now: datetime) -> list[Line]:
        """The metrics of the tenant's own rules; one that is not to be had keeps nothing else from being read."""
        lines: list[Line] = []
        for metric in dict.fromkeys(rule.metric for rule in self.profile.rules if METRIC_NAME.fullmatch(rule.metric)):
            unread = Series(OWN_PROMETHEUS, UNREAD, (("metric", metric),))
            try:
                lines += await server.raw(metric, start, end)
            except SourceError as error:
                log.warning("the rules on %s are not looked at: %s", metric, error)
                self._waiting.append(Sample(unread, now, 1.0))
            else:
                self._waiting.append(Sample(unread, now, 0.0))
        return lines

    def _new(self, line: Line, series: Series, start: int) -> Iterator[Sample]:
        """The samples of a line that were not read before: a series' samples come in the order of their times."""
        if len(self._last_read) > WAITING:
            self._last_read.clear()
        after = self._last_read.get(line.told, start)
        for time, value in zip(line.times, line.values, strict=True):
            if time > after:
                yield Sample(series, from_milliseconds(time), value)
        if len(line.times):
            self._last_read[line.told] = max(after, line.times[-1])

    async def probe(self) -> None:
        """Listen to every rendition and stream once."""
        now, deadline_s = self._clock.now(), max(1.0, self.profile.probe_seconds * 2)
        self._waiting.extend(await self._station.hear(now, deadline_s))
        if self._prober is not None:
            self._waiting.extend(probed_samples(await self._prober.poll(now, deadline_s=deadline_s), now))

    async def read_logs(self) -> None:
        """Read what each component has logged since last time."""
        if self.inventory is None:
            return
        now = self._clock.now()
        for entity, path in self.inventory.logs.items():
            position = self._positions.get(entity)
            if position is None or position.path != path:
                position = logs.Position(path)
            try:
                batch = await logs.tail(position, component=entity)
            except SourceError as error:
                log.warning("the log of %s cannot be read: %s", entity, error)
                continue
            self._positions[entity] = batch.position
            self.bad_lines += batch.bad
            alarming = [line for line in batch.lines if line.level in ALARMING]
            self.said[entity].extend((line.time, line.event) for line in alarming)
            self._waiting.append(Sample(Series(entity, "log_alarming_lines", unit="lines"), now, float(len(alarming))))
            self._waiting.append(Sample(Series(entity, "log_lines", unit="lines"), now, float(len(batch.lines))))

    async def hear_players(self, tenant: str, warehouse: Warehouse) -> None:
        """Read the session reports that arrived since last time, and put their figures among the samples."""
        async with warehouse.as_tenant(tenant) as db:
            fresh, self._arrival = await sessions.since(tenant, db, self._arrival, REPORTS_PER_ROUND)
        self._reports.extend(fresh)
        now = self._clock.now()
        while self._reports and (now - self._reports[0].time).total_seconds() > 6 * self.profile.window_seconds:
            self._reports.popleft()
        self._waiting.extend(session_samples(self._reports, now, self.profile.window_seconds))

    async def take_deliveries(self, tenant: str, warehouse: Warehouse) -> None:
        """Read what was pushed at the gateway since last time, the oldest first; what waits still is told.

        What was received before anything that is looked back on is in the warehouse, and is not read again.
        """
        async with warehouse.as_tenant(tenant) as db:
            fresh, self._pushed_to = await deliveries.since(
                tenant, db, self._pushed_to, self._clock.now() - HORIZON, PUSHED_PER_ROUND
            )
        if len(fresh) >= PUSHED_PER_ROUND:
            log.warning("more is pushed than a tick takes: %d samples were read, others wait", len(fresh))
        self._pushed.extend(self._unheld(fresh))

    async def hear_alerts(self, tenant: str, warehouse: Warehouse) -> list[Condition]:
        """What the tenant's own Alertmanager has told and still fires, as conditions: the same as of his Prometheus."""
        async with warehouse.as_tenant(tenant) as db:
            firing = await alerts.firing_at(tenant, db, self._clock.now())
        naming = Naming(self.profile.naming)
        told = [(naming.series(series(alert.labels)), alert.started) for alert in firing]
        return [condition(each, started) for each, started in told if heeded(each, self.profile)]

    def _unheld(self, samples: Iterable[Sample]) -> Iterator[Sample]:
        """Without those that stood in the readings when the watcher began."""
        return (sample for sample in samples if (sample.series.id, sample.time) not in self._held)

    def drain_pushed(self) -> list[Sample]:
        """Every pushed sample that waits for a tick."""
        drained = list(self._pushed)
        self._pushed.clear()
        return drained

    def add(self, sample: Sample) -> None:
        """Put in a sample of the watcher's own."""
        self._waiting.append(sample)

    def drain(self) -> list[Sample]:
        """Everything that waits for a tick; what is too much is given up, the oldest first, and counted."""
        too_many = max(0, len(self._waiting) - WAITING)
        for _ in range(too_many):
            self._waiting.popleft()
        if too_many:
            self.given_up += too_many
            log.warning("%d samples were given up, the oldest first: more came than a tick takes", too_many)
        drained = list(self._waiting)
        self._waiting.clear()
        return drained


#: What can be asked for by its name alone.
METRIC_NAME = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*")
#: Of a channel's further renditions one segment of so many is decoded: loudness needs no more, and decoding costs CPU.
THIN = 3


def twins(inventory: Inventory) -> dict[str, str]:
    """Source -> the source that carries the same programme: both are inputs of one ingest."""
    found: dict[str, str] = {}
    for inputs in inventory.inputs.values():
        sources = [inputs.sources[name] for name in inputs.values if name in inputs.sources]
        if len(sources) > 1:
            found |= dict.fromkeys(sources[1:], sources[0]) | {sources[0]: sources[1]}
    return found
