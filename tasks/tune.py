"""Tune in to a tenant's station: its Icecast mounts are heard all the time, its HLS renditions as they appear.

What the settings name is what is heard; only the hosts that they name are ever asked.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Protocol
from urllib.parse import urlsplit

from feature_store.loudness import LoudnessMeter
from feature_store.sound import SilenceMeter
from gateway.hosts import Hosts
from gateway.http import Session, client, fetch
from gateway.sources.decode import Pcm
from gateway.sources.icecast import fetch_status
from gateway.sources.stream import SILENT_S, StreamProbe
from tasks.probe import Prober, Target, probed_samples
from tasks.scrape import scraped
from tonewatch.clock import Clock
from tonewatch.errors import SourceError
from tonewatch.records import Entity, Sample, Series
from tonewatch.settings import HlsSource, IcecastSource, Sources

ICECAST, HLS = "service:icecast", "service:hls"
#: Whose entities these are: what an inventory names is another's.
OURS = "source"
#: Who listens to a channel, by its own server's word, without us.
LISTENERS = "icecast_listeners"
ASK_S = 2.0
#: Within so long the head of a stream must come.
OPEN_S = 5.0
RECONNECT_S = 1.0
_STRANGE = re.compile(r"[^A-Za-z0-9_./-]+")
_UNITS = {"probe_loudness_lufs": "LUFS", "probe_decode_errors": "1", "stream_away": "1"}


def names_of(kind: str, paths: Sequence[str]) -> dict[str, str]:
    """Path of a mount or rendition -> its part of an entity's id, e.g. icecast/live.mp3; no two are the same."""
    found: dict[str, str] = {}
    for path in paths:
        name = f"{kind}/{_STRANGE.sub('-', urlsplit(path).path).strip('-./') or 'stream'}"[:150]
        found[path] = name if name not in found.values() else f"{name}-{len(found) + 1}"
    return found


def entities_of(sources: Sources) -> list[Entity]:
    """What the settings name, as the house's nouns: the server, and of each stream what is heard and its channel."""
    found: list[Entity] = []
    for service, kind, url, paths in _named(sources):
        found.append(Entity(service, kind, labels={OURS: kind, "base_url": url}))
        for path, name in names_of(kind, paths).items():
            channel = f"channel:{name}"
            labels = {OURS: kind, "channel": channel, "path": path}
            # An Icecast mount is none of the models' renditions: it has no playlist.
            stage = "stream" if kind == "icecast" else "rendition"
            found.append(Entity(f"rendition:{name}", stage, labels, feeds=(channel,), depends_on=(service,)))
            found.append(
                Entity(channel, "channel", labels={OURS: kind, "name": name}, depends_on=(f"rendition:{name}",))
            )
    return found


def _named(sources: Sources) -> Iterator[tuple[str, str, str, Sequence[str]]]:
    if sources.icecast is not None:
        yield ICECAST, "icecast", sources.icecast.url, sources.icecast.mounts
    if sources.hls is not None:
        yield HLS, "hls", sources.hls.url, sources.hls.addresses


class _Tuned(Protocol):
    """One source that is tuned in to."""

    hosts: Hosts
    service: str

    async def ask(self, now: datetime) -> list[Sample]:
        """What its server says."""

    async def hear(self, now: datetime, deadline_s: float) -> list[Sample]:
        """How its streams sound and arrive."""

    async def close(self) -> None:
        """Hear no more."""


class Station:
    """The sources of one tenant that are heard. Close it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sources: Sources | None = None  # None: nothing was followed yet
        self._tuned: list[_Tuned] = []

    def differs(self, sources: Sources) -> bool:
        """Whether the settings name other streams than those that are heard."""
        held = self._sources
        return held is None or (sources.icecast, sources.hls) != (held.icecast, held.hls)

    async def follow(self, sources: Sources) -> None:
        """Hear what `sources` name from now on, and nothing else."""
        before, self._tuned = self._tuned, []
        self._sources = sources
        for tuned in before:
            await tuned.close()
        if sources.icecast is not None:
            self._tuned.append(_Icecast(sources.icecast, self._clock))
        if sources.hls is not None:
            self._tuned.append(_Hls(sources.hls, self._clock))

    async def ask(self, now: datetime) -> list[Sample]:
        """What the servers say of themselves and their streams."""
        return [sample for tuned in list(self._tuned) for sample in await tuned.ask(now)]

    async def hear(self, now: datetime, deadline_s: float) -> list[Sample]:
        """How every stream sounds and arrives, and who was pointed at that must not be asked."""
        found: list[Sample] = []
        for tuned in list(self._tuned):
            found += await tuned.hear(now, deadline_s)
            refused, tuned.hosts.refused = tuned.hosts.refused, {}
            for host in sorted(refused):
                found.append(Sample(Series(tuned.service, "source_foreign_host", (("host", host),)), now, 1.0))
        return found

    async def close(self) -> None:
        """Hear nothing any more."""
        await self.follow(Sources())


class _Icecast:
    """The mounts of one server, each on a connection of its own."""

    service = ICECAST

    def __init__(self, source: IcecastSource, clock: Clock) -> None:
        self.hosts = Hosts(source.url)
        self._base = source.url.rstrip("/")
        self._asking = client(timeout_s=ASK_S, connections=2, hosts=self.hosts)
        self._hearing = client(timeout_s=SILENT_S, connections=len(source.mounts) + 1, hosts=self.hosts)
        self._ears = {
            mount: Ear(f"rendition:{name}", self._base + mount, self._hearing, clock)
            for mount, name in names_of("icecast", source.mounts).items()
        }
        self._tasks = [asyncio.create_task(ear.run(), name=f"hear {ear.entity}") for ear in self._ears.values()]

    async def ask(self, now: datetime) -> list[Sample]:
        try:
            status = await fetch_status(self._asking, self._base, deadline_s=ASK_S)
        except SourceError as error:
            return scraped(self.service, error, now)
        listed = {mount.path: mount for mount in status.mounts}
        samples = [Sample(Series(self.service, "up"), now, 1.0)]
        for path, ear in self._ears.items():
            samples.append(Sample(Series(ear.entity, "icecast_mount_listed"), now, float(path in listed)))
            if path in listed:
                # Icecast counts us among its listeners.
                people = max(0, listed[path].listeners - int(ear.connected))
                channel = ear.entity.replace("rendition:", "channel:", 1)
                samples.append(Sample(Series(channel, LISTENERS, unit="listeners"), now, float(people)))
        return samples

    async def hear(self, now: datetime, deadline_s: float) -> list[Sample]:
        return [sample for ear in self._ears.values() for sample in ear.samples(now)]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._asking.aclose()
        await self._hearing.aclose()


class Ear:
    """Hears one stream without an end, and opens it again whenever it breaks off."""

    def __init__(self, entity: str, url: str, session: Session, clock: Clock) -> None:
        self.entity = entity
        self.away = ""  # why it cannot be had, in the words of a SourceError's kind; "" while it can
        self.title = ""
        self._url, self._session, self._clock = url, session, clock
        self._probe = StreamProbe(url, session, clock=clock, timeout_s=OPEN_S)
        self._silence = SilenceMeter()
        self._meter: LoudnessMeter | None = None
        self._loudness: float | None = None
        self._errors = 0

    @property
    def connected(self) -> bool:
        """Whether the stream comes in now."""
        return not self.away and self._probe.arrived is not None

    async def run(self) -> None:
        """Hear until cancelled."""
        while True:
            try:
                await self._hear_once()
                self.away = "ended"
            except SourceError as error:
                self.away = error.kind
            await asyncio.sleep(RECONNECT_S)

    async def _hear_once(self) -> None:
        self._probe = StreamProbe(self._url, self._session, clock=self._clock, timeout_s=OPEN_S)
        # What was heard before the break is no part of a silence now: nobody knows what was in between.
        self._silence, self._errors = SilenceMeter(), 0
        async for pcm in self._probe.sound():
            await asyncio.to_thread(self._push, self._probe.received_s - pcm.seconds, pcm)
            self.away = ""

    def _push(self, started: float, pcm: Pcm) -> None:
        shape = (pcm.rate, pcm.samples.shape[1])
        if self._meter is None or (self._meter.rate, self._meter.channels) != shape:
            self._meter = LoudnessMeter(*shape)
        self._meter.push(pcm.samples)
        self._silence.push(started, pcm.samples, pcm.rate)
        self._loudness = self._meter.latest

    def samples(self, now: datetime) -> list[Sample]:
        """How it stands at `now`; nothing before the first answer."""
        if not self.away and self._probe.arrived is None:
            return []
        away = Series(self.entity, "stream_away", (("reason", self.away),) if self.away else ())
        found = [Sample(away, now, float(bool(self.away)))]
        if self.connected:
            found += [
                Sample(Series(self.entity, metric, unit=_UNITS.get(metric, "s")), now, value)
                for metric, value in self._values()
            ]
        return found

    def _values(self) -> Iterator[tuple[str, float]]:
        probe, at = self._probe, self._clock.monotonic()
        arrived = probe.arrived or at
        yield "probe_silence_seconds", self._silence.seconds
        # Bytes may come in lumps: what counts is that a player has nothing left.
        due = -probe.buffer_s if probe.received_s else at - arrived
        yield "stream_frozen_seconds", max(0.0, min(at - arrived, due))
        yield "stream_undecoded_seconds", probe.undecoded_s
        errors, self._errors = max(0, probe.errors - self._errors), probe.errors
        yield "probe_decode_errors", float(errors)
        if self._loudness is not None:
            loudness, self._loudness = self._loudness, None
            yield "probe_loudness_lufs", loudness


class _Hls:
    """The renditions of one playlist."""

    service = HLS

    def __init__(self, source: HlsSource, clock: Clock) -> None:
        self.hosts = Hosts(source.url, source.hosts)
        self._url = source.url
        self._session = client(timeout_s=ASK_S, hosts=self.hosts)
        targets = [
            Target(f"rendition:{name}", address, f"channel:{name}")
            for address, name in names_of("hls", source.addresses).items()
        ]
        self._prober = Prober(targets, source.url, clock=clock, session=self._session)

    async def ask(self, now: datetime) -> list[Sample]:
        try:
            await fetch(self._session, self._url, deadline_s=ASK_S)
        except SourceError as error:
            return scraped(self.service, error, now)
        return [Sample(Series(self.service, "up"), now, 1.0)]

    async def hear(self, now: datetime, deadline_s: float) -> list[Sample]:
        probed = await self._prober.poll(now, deadline_s=deadline_s)
        return probed_samples(probed, now)

    async def close(self) -> None:
        await self._prober.close()
        await self._session.aclose()


def without_ours(entities: Iterable[Entity]) -> list[Entity]:
    """Those that an inventory named."""
    return [entity for entity in entities if OURS not in entity.labels]
