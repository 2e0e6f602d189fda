"""Probe the renditions: each poll gives samples of how they sound and arrive, and facts about what is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urljoin

from feature_store.loudness import LoudnessMeter
from feature_store.sound import SilenceMeter
from gateway.http import Session, client
from gateway.sources.hls import Heard, HlsProbe, Reading
from gateway.sources.inventory import Inventory
from tonewatch.clock import SYSTEM, Clock
from tonewatch.records import Sample, Series

#: Silence is told as a fact from here on (seconds); shorter silence is part of many programmes.
SILENCE_AFTER_S = 10.0
#: Facts that say that a playlist could not be had at all.
UNREACHABLE = frozenset({"retrieval", "unanswered"})
#: Facts that a playlist breaks a rule which every player relies on; others tell of a moment.
BROKEN = frozenset({"short-window", "segment-too-long", "target-duration"})
_UNITS = {"probe_loudness_lufs": "LUFS", "probe_decode_errors": "1"}


@dataclass(frozen=True, slots=True)
class Target:
    """A rendition to probe. `decode_every`: one of so many segments is decoded (all of them while it is silent)."""

    entity: str
    playlist: str  # path or address
    channel: str
    decode_every: int = 1


@dataclass(frozen=True, slots=True)
class ProbeFact:
    """Something wrong with a rendition, for a rule to make a Finding of; told again at each poll while it lasts.

    `kind` is silence, unanswered, probe-failed, or a PlaylistFaultKind: retrieval, stale, segment, continuity ...
    """

    time: datetime
    entity: str
    kind: str
    summary: str
    value: float = 1.0  # seconds of silence or overdue; else 1
    started: datetime | None = None


@dataclass(frozen=True, slots=True)
class Probed:
    """What one poll found. `unanswered`: renditions not done by the deadline; theirs comes with a later poll."""

    samples: tuple[Sample, ...]
    facts: tuple[ProbeFact, ...]
    unanswered: tuple[str, ...]
    seconds: float


class _Ear:
    """One rendition's probe and the meters that carry its sound from segment to segment."""

    def __init__(self, target: Target, probe: HlsProbe, segment_s: float, silence_after_s: float) -> None:
        self.target, self.probe = target, probe
        self._silence_after_s = silence_after_s
        self._meter: LoudnessMeter | None = None
        # While segments are left out on purpose, two silent neighbours are taken for one silence.
        self.silence = SilenceMeter(bridge_s=segment_s * target.decode_every)

    async def listen(self, time: datetime) -> tuple[list[Sample], list[ProbeFact]]:
        reading = await self.probe.poll()
        loudness = await asyncio.to_thread(self._hear, reading.heard) if reading.heard else None
        self.probe.attentive = self.silence.seconds > 0
        values = dict(_values(reading, loudness, self.silence.seconds))
        samples = [self._sample(metric, value, time) for metric, value in values.items()]
        return samples, list(self._facts(reading, time))

    def _sample(self, metric: str, value: float, time: datetime) -> Sample:
        return Sample(Series(self.target.entity, metric, unit=_UNITS.get(metric, "s")), time, value)

    def _hear(self, heard: Sequence[Heard]) -> float | None:
        """Loudness of the newest segment that could be heard: the mean energy of its 400-ms windows, LUFS."""
        loudness: float | None = None
        for one in heard:
            pcm = one.decoded.pcm if one.decoded is not None else None
            if pcm is None:
                continue
            meter = self._meter_for(pcm.rate, pcm.samples.shape[1])
            meter.push(pcm.samples)
            self.silence.push(one.started.timestamp(), pcm.samples, pcm.rate)
            loudness = meter.latest
        return loudness

    def _meter_for(self, rate: int, channels: int) -> LoudnessMeter:
        if self._meter is None or (self._meter.rate, self._meter.channels) != (rate, channels):
            self._meter = LoudnessMeter(rate, channels)
        return self._meter

    def _facts(self, reading: Reading, time: datetime) -> Iterator[ProbeFact]:
        if self.silence.seconds >= self._silence_after_s:
            summary = f"no sound for {self.silence.seconds:.1f} s"
            yield ProbeFact(time, self.target.entity, "silence", summary, self.silence.seconds)
        for fault in reading.faults:
            value = reading.overdue_s if fault.kind == "stale" else 1.0
            yield ProbeFact(time, self.target.entity, str(fault.kind), fault.message, value)


class Prober:
    """Probes all renditions at `base_url` (the origin's or an edge's), a few at once. Close it.

    Cost: see docs/listen.md. One slow rendition keeps no other from being told: it is reported as unanswered.
    """

    def __init__(
        self,
        targets: Iterable[Target],
        base_url: str,
        *,
        segment_s: float = 2.0,
        clock: Clock = SYSTEM,
        timeout_s: float = 2.0,
        concurrency: int = 8,
        silence_after_s: float = SILENCE_AFTER_S,
        session: Session | None = None,
    ) -> None:
        self._clock = clock
        self._session, self._owned = session or client(timeout_s=timeout_s), session is None
        self._turns = asyncio.Semaphore(concurrency)
        self._ears = {
            target.entity: _Ear(target, self._probe(target, base_url, timeout_s), segment_s, silence_after_s)
            for target in targets
        }
        self._running: dict[str, asyncio.Task[tuple[list[Sample], list[ProbeFact]]]] = {}

    @classmethod
    def of(cls, inventory: Inventory, base_url: str | None = None, *, thin: int = 1, clock: Clock = SYSTEM) -> Prober:
        """For all renditions of `inventory`, at its origin unless `base_url` is given.

        The first rendition of each channel is decoded whole, the others one segment of `thin`.
        """
        targets = [
            Target(rendition.id, rendition.playlist, channel.id, 1 if place == 0 else thin)
            for channel in inventory.channels
            for place, rendition in enumerate(channel.renditions)
        ]
        return cls(targets, base_url or inventory.origin.base_url, segment_s=inventory.segment_seconds, clock=clock)

    async def poll(self, now: datetime, *, deadline_s: float = 2.5) -> Probed:
        """Probe everything once, within `deadline_s`. Samples bear the `now` of the poll that began them."""
        began = self._clock.monotonic()
        for entity, ear in self._ears.items():
            if entity not in self._running:
                self._running[entity] = asyncio.create_task(self._take_turn(ear, now), name=f"probe {entity}")
        if self._running:
            await asyncio.wait(self._running.values(), timeout=deadline_s)
        done = {entity: task for entity, task in self._running.items() if task.done()}
        self._running = {entity: task for entity, task in self._running.items() if entity not in done}
        samples, facts = _collected(done, now)
        facts += [
            ProbeFact(now, entity, "unanswered", f"the probe had no answer within {deadline_s:g} s", deadline_s)
            for entity in self._running
        ]
        return Probed(tuple(samples), tuple(facts), tuple(self._running), self._clock.monotonic() - began)

    async def close(self) -> None:
        """End what is under way and close the connections."""
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        self._running = {}
        if self._owned:
            await self._session.aclose()

    def silence_s(self) -> Mapping[str, float]:
        """Entity -> seconds of silence up to the newest segment heard."""
        return {entity: ear.silence.seconds for entity, ear in self._ears.items()}

    async def _take_turn(self, ear: _Ear, now: datetime) -> tuple[list[Sample], list[ProbeFact]]:
        async with self._turns:
            return await ear.listen(now)

    def _probe(self, target: Target, base_url: str, timeout_s: float) -> HlsProbe:
        return HlsProbe(
            urljoin(base_url, target.playlist),
            self._session,
            clock=self._clock,
            timeout_s=timeout_s,
            decode_every=target.decode_every,
        )


def _collected(
    tasks: Mapping[str, asyncio.Task[tuple[list[Sample], list[ProbeFact]]]], now: datetime
) -> tuple[list[Sample], list[ProbeFact]]:
    samples: list[Sample] = []
    facts: list[ProbeFact] = []
    for entity, task in tasks.items():
        if task.cancelled():  # the prober was closed meanwhile: there is nothing to tell
            continue
        if (problem := task.exception()) is not None:  # our own mistake or a library's: it must not silence the others
            facts.append(ProbeFact(now, entity, "probe-failed", f"the probe itself failed: {problem!r}"))
            continue
        more, further = task.result()
        samples += more
        facts += further
    return samples, facts


def _values(reading: Reading, loudness: float | None, silence_s: float) -> Iterator[tuple[str, float]]:
    """Metric and value of everything this reading can tell; what it cannot is left out, not repeated."""
    if reading.playlist is not None:
        yield "probe_playlist_overdue_seconds", reading.overdue_s
        yield "probe_silence_seconds", silence_s
    if reading.playlist_age_s is not None:
        yield "probe_playlist_age_seconds", reading.playlist_age_s
    if reading.latency_s is not None:
        yield "probe_latency_seconds", reading.latency_s
    if reading.heard:
        yield "probe_decode_errors", float(sum(one.decode_errors for one in reading.heard))
    fetches = [one.fetch_s for one in reading.heard if one.fetch_s is not None]
    if fetches:
        yield "probe_segment_seconds", max(fetches)
    if loudness is not None:
        yield "probe_loudness_lufs", loudness


def probed_samples(heard: Probed, now: datetime) -> list[Sample]:
    """Everything that a poll tells as samples: what it measured, who could not be had, which rules are broken."""
    reached = {sample.series.entity for sample in heard.samples}
    missed = {fact.entity for fact in heard.facts if fact.kind in UNREACHABLE} - reached
    answered = [
        Sample(Series(entity, "probe_unreachable"), now, float(entity in missed))
        for entity in (*sorted(reached), *sorted(missed))
    ]
    return [*heard.samples, *answered, *broken_samples(heard.facts, reached, now)]


def broken_samples(facts: Iterable[ProbeFact], reached: Iterable[str], now: datetime) -> list[Sample]:
    """Per rendition that was reached: 1 for each rule of HLS that its playlist breaks, or 0."""
    broken: dict[str, set[str]] = {entity: set() for entity in reached}
    for fact in facts:
        if fact.kind in BROKEN and fact.entity in broken:
            broken[fact.entity].add(fact.kind)
    return [
        Sample(Series(entity, "probe_playlist_broken", (("rule", rule),) if rule else ()), now, float(bool(rule)))
        for entity, rules in sorted(broken.items())
        for rule in (sorted(rules) or [""])
    ]
